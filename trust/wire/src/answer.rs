//! A CA's answer, taken apart.

use std::fmt;

use crate::messages::IstioCertificateResponse;

/// What a CA sent, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Leaf first, then its intermediates: what to present.
    pub chain_pem: String,
    /// What to verify others against.
    pub roots_pem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// Fewer parts than a leaf and its roots.
    Short { parts: usize },
    /// A part holds another number of certificates than it may.
    Part { position: usize, certificates: usize },
}

impl Answer {
    /// # Errors
    /// When it has not the shape that both Istio's agents and ours rely on.
    pub fn of(response: &IstioCertificateResponse) -> Result<Self, AnswerFault> {
        let parts = &response.cert_chain;
        let [chain @ .., roots] = parts.as_slice() else {
            return Err(AnswerFault::Short { parts: 0 });
        };
        if chain.is_empty() {
            return Err(AnswerFault::Short { parts: 1 });
        }
        for (index, part) in chain.iter().enumerate() {
            let certificates = certificates(part);
            if certificates != 1 {
                return Err(AnswerFault::Part { position: index + 1, certificates });
            }
        }
        if certificates(roots) == 0 {
            return Err(AnswerFault::Part { position: parts.len(), certificates: 0 });
        }
        let lines = |part: &String| format!("{}\n", part.trim_end());
        Ok(Self { chain_pem: chain.iter().map(lines).collect(), roots_pem: lines(roots) })
    }
}

fn certificates(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { parts } => write!(
                f,
                "the CA's answer has {parts} parts; it needs the leaf, its intermediates and, \
                 last, the roots"
            ),
            Self::Part { position, certificates } => write!(
                f,
                "part {position} of the CA's answer holds {certificates} certificates; each but \
                 the last holds one, the last all roots"
            ),
        }
    }
}

impl std::error::Error for AnswerFault {}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";

    fn answer(parts: &[&str]) -> Result<Answer, AnswerFault> {
        let cert_chain = parts.iter().map(ToString::to_string).collect();
        Answer::of(&IstioCertificateResponse { cert_chain })
    }

    #[test]
    fn the_last_part_is_the_roots_and_the_others_the_chain() {
        let roots = format!("{ONE}\n{ONE}\n");
        let taken = answer(&[ONE, &format!("{ONE}\n"), &roots]).unwrap();
        assert_eq!(taken.chain_pem, format!("{ONE}\n{ONE}\n"));
        assert_eq!(taken.roots_pem, roots);
        assert_eq!(answer(&[ONE, ONE]).unwrap().chain_pem, format!("{ONE}\n"));
    }

    #[test]
    fn another_shape_is_refused() {
        let two = format!("{ONE}\n{ONE}");
        for (parts, fault) in [
            (vec![], AnswerFault::Short { parts: 0 }),
            (vec![ONE], AnswerFault::Short { parts: 1 }),
            (vec![&*two, ONE], AnswerFault::Part { position: 1, certificates: 2 }),
            (vec!["", ONE], AnswerFault::Part { position: 1, certificates: 0 }),
            (vec![ONE, ""], AnswerFault::Part { position: 2, certificates: 0 }),
        ] {
            assert_eq!(answer(&parts), Err(fault), "{parts:?}");
        }
    }
}
