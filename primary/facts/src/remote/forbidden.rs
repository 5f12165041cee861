//! Fields that a kubeconfig from elsewhere may not have, each with its reason. Their mere presence
//! refuses it, whatever they hold.

use super::code::Code;

#[derive(Debug)]
pub(super) struct Forbidden {
    pub(super) key: &'static str,
    pub(super) code: Code,
    pub(super) why: &'static str,
    pub(super) way_out: &'static str,
}

const INLINE: &str = "put the content into the kubeconfig (kubectl config view --flatten)";
const TOKEN: &str = "use a service account's token (create-remote-secret prints one)";

pub(super) const OF_CLUSTER: &[Forbidden] = &[
    Forbidden {
        key: "certificate-authority",
        code: Code::CaFile,
        why: "it would read a file of the primary",
        way_out: INLINE,
    },
    Forbidden {
        key: "insecure-skip-tls-verify",
        code: Code::InsecureSkipTlsVerify,
        why: "the token would go to whoever answers",
        way_out: "drop it, and give certificate-authority-data and, if need be, tls-server-name",
    },
    Forbidden {
        key: "proxy-url",
        code: Code::ProxyUrl,
        why: "it would lead the primary's connections, and the token, through somebody else",
        way_out: "give a server that the primary reaches by itself",
    },
];

pub(super) const OF_USER: &[Forbidden] = &[
    Forbidden { key: "as", code: Code::Impersonation, why: IMPERSONATION, way_out: TOKEN },
    Forbidden { key: "as-groups", code: Code::Impersonation, why: IMPERSONATION, way_out: TOKEN },
    Forbidden { key: "as-uid", code: Code::Impersonation, why: IMPERSONATION, way_out: TOKEN },
    Forbidden {
        key: "as-user-extra",
        code: Code::Impersonation,
        why: IMPERSONATION,
        way_out: TOKEN,
    },
    Forbidden {
        key: "auth-provider",
        code: Code::AuthProvider,
        why: "it names a plug-in, and plug-ins run programs or call servers of the kubeconfig's \
              choosing",
        way_out: "create the secret without --auth-type=plugin: with a token",
    },
    Forbidden {
        key: "client-certificate",
        code: Code::ClientCertificateFile,
        why: "it would read a file of the primary",
        way_out: INLINE,
    },
    Forbidden {
        key: "client-key",
        code: Code::ClientKeyFile,
        why: "it would read a file of the primary",
        way_out: INLINE,
    },
    Forbidden {
        key: "exec",
        code: Code::Exec,
        why: "it would run a program on the primary",
        way_out: TOKEN,
    },
    Forbidden { key: "password", code: Code::Password, why: PASSWORD, way_out: TOKEN },
    Forbidden {
        key: "tokenFile",
        code: Code::TokenFile,
        why: "it would read a file of the primary, and send it to the server",
        way_out: "put the token itself into the kubeconfig",
    },
    Forbidden { key: "username", code: Code::Password, why: PASSWORD, way_out: TOKEN },
];

/// Istio takes this one plug-in; we do not.
pub(super) const OIDC: Forbidden = Forbidden {
    key: "auth-provider",
    code: Code::Oidc,
    why: "oidc calls the identity provider that the kubeconfig names, and its refresh token is used \
          up by whoever is first",
    way_out: TOKEN,
};

const IMPERSONATION: &str =
    "who may impersonate may be anybody, which is more than a primary needs";
const PASSWORD: &str = "API servers have taken no passwords since Kubernetes 1.19";
