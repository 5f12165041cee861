//! One kubeconfig, by an allow-list: what is not known to be harmless refuses the whole.

use zeroize::Zeroizing;

use super::code::{Code, Flaw};
use super::credential::{Credential, Token};
use super::destination::AllowedRanges;
use super::forbidden::{self, Forbidden};
use super::pem;
use super::server::{Host, Server};
use super::{Connection, document};
use crate::limit;
use crate::text::{Node, Value};

/// What it says, and how it calls its one cluster.
#[derive(Debug)]
pub(super) struct Kubeconfig {
    pub(super) name: String,
    pub(super) connection: Connection,
}

/// Used, then what means nothing here.
const TOP: [&[&str]; 2] = [
    &["apiVersion", "clusters", "contexts", "current-context", "kind", "users"],
    &["extensions", "preferences"],
];
const OF_CLUSTER: [&[&str]; 2] = [
    &["certificate-authority-data", "server", "tls-server-name"],
    &["disable-compression", "extensions"],
];
const OF_CONTEXT: [&[&str]; 2] = [&["cluster", "user"], &["extensions", "namespace"]];
const OF_USER: [&[&str]; 2] =
    [&["client-certificate-data", "client-key-data", "token"], &["extensions"]];

pub(super) fn read(bytes: &[u8], allowed: &AllowedRanges) -> Result<Kubeconfig, Flaw> {
    let document = document::read(bytes)?;
    let top = Part::of(&document.root, "the kubeconfig".into())?;
    top.check(TOP, &[])?;
    top.expect("kind", "Config")?;
    top.expect("apiVersion", "v1")?;
    let cluster = top.only("clusters", "cluster")?;
    let user = top.only("users", "user")?;
    let context = top.only("contexts", "context")?;
    cluster.body.check(OF_CLUSTER, forbidden::OF_CLUSTER)?;
    context.body.check(OF_CONTEXT, &[])?;
    user.body.check(OF_USER, forbidden::OF_USER)?;
    context.body.names("cluster", cluster.name)?;
    context.body.names("user", user.name)?;
    if top.text("current-context")?.is_some() {
        top.names("current-context", context.name)?;
    }
    let connection = Connection {
        server: server(&cluster.body, allowed)?,
        roots: roots(&cluster.body)?,
        tls_server_name: tls_server_name(&cluster.body)?,
        credential: credential(&user.body)?,
    };
    Ok(Kubeconfig { name: cluster.name.to_owned(), connection })
}

/// A map of the document, and how a person finds it.
struct Part<'n> {
    path: String,
    line: u32,
    entries: &'n [(String, Node)],
}

struct Named<'n> {
    name: &'n str,
    body: Part<'n>,
}

impl<'n> Part<'n> {
    fn of(node: &'n Node, path: String) -> Result<Self, Flaw> {
        match &node.value {
            Value::Map(entries) => Ok(Self { path, line: node.line, entries }),
            _ => Err(wrong_type(node, &path, "a map")),
        }
    }

    fn under(&self, key: &str) -> String {
        if self.path.starts_with("the ") { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn get(&self, key: &str) -> Option<&'n Node> {
        let entry = self.entries.iter().find(|(known, _)| known == key);
        entry.map(|(_, node)| node).filter(|node| node.value != Value::Null)
    }

    /// In the order of the document.
    fn check(&self, known: [&[&str]; 2], forbidden: &[Forbidden]) -> Result<(), Flaw> {
        for (key, node) in self.entries {
            if known.iter().any(|keys| keys.contains(&key.as_str())) {
                continue;
            }
            let Some(no) = forbidden.iter().find(|no| no.key == key) else {
                return Err(self.unknown(key, node));
            };
            // The one value that asks for what is done anyway.
            if no.code == Code::InsecureSkipTlsVerify && node.value == Value::Bool(false) {
                continue;
            }
            let oidc = no.code == Code::AuthProvider
                && node.get("name").and_then(Node::text) == Some("oidc");
            let no = if oidc { &forbidden::OIDC } else { no };
            let cause = format!("{}: {}", self.under(key), no.why);
            return Err(Flaw::new(node.line, no.code, cause, no.way_out));
        }
        Ok(())
    }

    /// The name is repeated only if it looks like one: a slip of the pen may put a secret there.
    fn unknown(&self, key: &str, node: &Node) -> Flaw {
        let plain = key.len() <= 40 && key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        let cause = match plain {
            true => format!("unknown field {}", self.under(key)),
            false => format!("unknown field in {}", self.path),
        };
        Flaw::new(node.line, Code::UnknownField, cause, "check its spelling, or drop it")
    }

    /// `None` where it is not there, null or empty.
    fn text(&self, key: &str) -> Result<Option<&'n str>, Flaw> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let text = node.text().ok_or_else(|| wrong_type(node, &self.under(key), "text"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn needed(&self, key: &str) -> Result<&'n str, Flaw> {
        self.text(key)?.ok_or_else(|| {
            let cause = format!("{} has no {key}", self.path);
            Flaw::new(self.line, Code::Missing, cause, "print the secret anew, and whole")
        })
    }

    fn line_of(&self, key: &str) -> u32 {
        self.get(key).map_or(self.line, |node| node.line)
    }

    fn expect(&self, key: &str, expected: &str) -> Result<(), Flaw> {
        match self.text(key)? {
            Some(found) if found != expected => {
                let cause = format!("{key} is not {expected}, so this is no kubeconfig");
                Err(Flaw::new(self.line_of(key), Code::Document, cause, "give a kubeconfig"))
            }
            _ => Ok(()),
        }
    }

    /// The field must say the name.
    fn names(&self, key: &str, name: &str) -> Result<(), Flaw> {
        if self.needed(key)? == name {
            return Ok(());
        }
        let cause = format!("{} names something that is not there", self.under(key));
        let way_out = "keep one context with its cluster and its user";
        Err(Flaw::new(self.line_of(key), Code::Missing, cause, way_out))
    }

    /// The one entry of a list of named things.
    fn only(&self, list: &str, kind: &'static str) -> Result<Named<'n>, Flaw> {
        let items = match self.get(list) {
            None => &[][..],
            Some(node) => match &node.value {
                Value::List(items) => items.as_slice(),
                _ => return Err(wrong_type(node, list, "a list")),
            },
        };
        let [item] = items else {
            let cause = match items.len() {
                0 => format!("the kubeconfig has no {kind}"),
                count => format!("the kubeconfig has {count} {list}, and one is used"),
            };
            let way_out = "keep one (kubectl config view --minify --flatten)";
            return Err(Flaw::new(self.line_of(list), Code::One, cause, way_out));
        };
        let entry = Part::of(item, format!("{list}[0]"))?;
        entry.check([&["name", kind], &[]], &[])?;
        let name = entry.needed("name")?;
        let Some(body) = entry.get(kind) else {
            let cause = format!("{} has no {kind}", entry.path);
            return Err(Flaw::new(entry.line, Code::Missing, cause, "print the secret anew"));
        };
        Ok(Named { name, body: Part::of(body, entry.under(kind))? })
    }
}

fn wrong_type(node: &Node, path: &str, expected: &str) -> Flaw {
    let cause = format!("{path} is not {expected}");
    let way_out = "text that looks like a number or a truth value needs quotes";
    Flaw::new(node.line, Code::WrongType, cause, way_out)
}

fn server(cluster: &Part<'_>, allowed: &AllowedRanges) -> Result<Server, Flaw> {
    let text = cluster.needed("server")?;
    Server::parse(text, allowed).map_err(|flaw| flaw.at(cluster.line_of("server")))
}

fn roots(cluster: &Part<'_>) -> Result<Vec<Vec<u8>>, Flaw> {
    const FIELD: &str = "certificate-authority-data";
    const WAY_OUT: &str = "give the API server's CA certificate, as PEM inside base64";
    let Some(text) = cluster.text(FIELD)? else {
        let cause = "the cluster has no certificate-authority-data, so nobody knows who answers";
        return Err(Flaw::new(cluster.line, Code::Ca, cause, WAY_OUT));
    };
    pem::certificates(text).map_err(|why| {
        let cause = format!("{} {why}", cluster.under(FIELD));
        Flaw::new(cluster.line_of(FIELD), Code::Ca, cause, WAY_OUT)
    })
}

fn tls_server_name(cluster: &Part<'_>) -> Result<Option<String>, Flaw> {
    const FIELD: &str = "tls-server-name";
    let Some(text) = cluster.text(FIELD)? else { return Ok(None) };
    match Host::parse(text) {
        Ok(Host::Name(name)) => Ok(Some(name)),
        Ok(Host::Address(address)) => Ok(Some(address.to_string())),
        Err(_) => {
            let cause = format!("{} is no name of a server", cluster.under(FIELD));
            let way_out = "write a DNS name that the API server's certificate has";
            Err(Flaw::new(cluster.line_of(FIELD), Code::TlsServerName, cause, way_out))
        }
    }
}

fn credential(user: &Part<'_>) -> Result<Credential, Flaw> {
    const CERTIFICATE: &str = "client-certificate-data";
    const KEY: &str = "client-key-data";
    let (token, certificate, key) = (user.text("token")?, user.text(CERTIFICATE)?, user.text(KEY)?);
    let flaw = |field, code, why: &str, way_out: &str| {
        Flaw::new(user.line_of(field), code, format!("{} {why}", user.under(field)), way_out)
    };
    match (token, certificate, key) {
        (Some(token), None, None) => token_of(token)
            .map(Credential::Token)
            .map_err(|why| flaw("token", Code::Token, why, "give the token as it was printed")),
        (None, Some(certificate), Some(key)) => {
            let way_out = "give the client's certificate and its key, as PEM inside base64";
            let chain = pem::certificates(certificate)
                .map_err(|why| flaw(CERTIFICATE, Code::ClientCertificate, why, way_out))?;
            let key =
                pem::private_key(key).map_err(|why| flaw(KEY, Code::ClientKey, why, way_out))?;
            Ok(Credential::ClientCertificate { chain, key })
        }
        (None, None, None) => {
            let cause = "the user has no token and no client certificate";
            Err(Flaw::new(user.line, Code::Credentials, cause, "give one of them"))
        }
        (None, _, _) => {
            let cause = "the user has a client certificate or its key, and not both";
            Err(Flaw::new(user.line, Code::Credentials, cause, "give both"))
        }
        (Some(_), _, _) => {
            let cause = "the user has a token and a client certificate";
            Err(Flaw::new(user.line, Code::Credentials, cause, "keep one of them"))
        }
    }
}

/// What a header can carry.
fn token_of(text: &str) -> Result<Token, &'static str> {
    let text = Zeroizing::new(text.to_owned());
    if text.len() > limit::TOKEN_BYTES_MAX {
        return Err("is too long");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds blanks or other characters that no token has");
    }
    Ok(Token::new(&text))
}
