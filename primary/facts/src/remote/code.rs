//! One word for each reason, the same in logs, metrics and tests.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why an entry is no remote cluster.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// An annotation of diolkos that cannot be read, or that nobody knows.
    Annotation = "annotation",
    AuthProvider = "auth-provider",
    ByteOrderMark = "byte-order-mark",
    Ca = "certificate-authority-data",
    CaFile = "certificate-authority",
    ClientCertificate = "client-certificate-data",
    ClientCertificateFile = "client-certificate",
    ClientKey = "client-key-data",
    ClientKeyFile = "client-key",
    ClusterName = "cluster-name",
    /// The key under which an external control plane keeps a kubeconfig of its own.
    ConfigKey = "config-key",
    ControlCharacter = "control-character",
    Credentials = "credentials",
    Document = "document",
    DuplicateKey = "duplicate-key",
    Empty = "empty",
    Exec = "exec",
    Impersonation = "impersonation",
    InsecureSkipTlsVerify = "insecure-skip-tls-verify",
    /// A part is missing, or names another that is.
    Missing = "missing",
    Namespace = "namespace",
    NotUtf8 = "not-utf-8",
    Oidc = "auth-provider-oidc",
    /// More or less than one cluster, user or context.
    One = "one",
    OwnCluster = "own-cluster",
    Password = "password",
    ProxyUrl = "proxy-url",
    SecondOwner = "second-owner",
    Server = "server",
    ServerAddress = "server-address",
    ServerScheme = "server-scheme",
    ServerUserinfo = "server-userinfo",
    TlsServerName = "tls-server-name",
    Token = "token",
    TokenFile = "token-file",
    TooLarge = "too-large",
    TooMany = "too-many",
    UnknownField = "unknown-field",
    WrongType = "wrong-type",
    Yaml = "yaml",
    /// Anchors, aliases, merge keys, tags.
    YamlMachinery = "yaml-machinery",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code with its line and its words, before anybody knows whose document it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// 0 where it is about the document as a whole.
    pub(super) line: u32,
    pub(super) code: Code,
    pub(super) cause: String,
    pub(super) way_out: String,
}

impl Flaw {
    pub(super) fn new(
        line: u32,
        code: Code,
        cause: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self { line, code, cause: cause.into(), way_out: way_out.into() }
    }

    pub(super) fn at(self, line: u32) -> Self {
        Self { line, ..self }
    }
}
