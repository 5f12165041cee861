//! What a mesh is made of, before anything happens to it. One line of text, for event logs.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub clusters: usize,
    /// Clusters are dealt out to networks in turn.
    pub networks: usize,
    pub export: Export,
    pub addresses: Addresses,
    pub stale_ms_max: Option<u64>,
    /// A fault put into the simulator, which it must find.
    pub sabotage: Sabotage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    All,
    Listed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Each cluster has a range of its own.
    Distinct,
    /// All clusters use one range, as private networks do.
    Same,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// A change of a catalog gets lost on its way to the clients.
    LoseCatalogDelta,
    /// A message of a source gets lost, and nobody starts over.
    LoseMessage,
    /// The primary serves before it has heard every source.
    ServeEarly,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            clusters: 3,
            networks: 2,
            export: Export::Listed,
            addresses: Addresses::Distinct,
            stale_ms_max: Some(500),
            sabotage: Sabotage::None,
        }
    }
}

impl Shape {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self {
            clusters: 2 + random.below(3),
            networks: 1 + random.below(3),
            export: if random.one_in(3) { Export::All } else { Export::Listed },
            addresses: if random.one_in(3) { Addresses::Same } else { Addresses::Distinct },
            stale_ms_max: [None, Some(0), Some(500)][random.below(3)],
            sabotage: Sabotage::None,
        }
    }
}

const EXPORTS: [(&str, Export); 2] = [("all", Export::All), ("listed", Export::Listed)];
const ADDRESSES: [(&str, Addresses); 2] =
    [("distinct", Addresses::Distinct), ("same", Addresses::Same)];
const SABOTAGES: [(&str, Sabotage); 4] = [
    ("none", Sabotage::None),
    ("lose-catalog-delta", Sabotage::LoseCatalogDelta),
    ("lose-message", Sabotage::LoseMessage),
    ("serve-early", Sabotage::ServeEarly),
];

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, one)| one == value).map_or("?", |(word, _)| word)
}

fn value<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(one, _)| *one == word).map(|(_, value)| *value)
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "clusters={} networks={} export={} addresses={} stale={} sabotage={}",
            self.clusters,
            self.networks,
            word(&EXPORTS, &self.export),
            word(&ADDRESSES, &self.addresses),
            self.stale_ms_max.map_or("never".into(), |ms| ms.to_string()),
            word(&SABOTAGES, &self.sabotage),
        )
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shape = Self::default();
        for part in text.split_whitespace() {
            let said = part.split_once('=').and_then(|(key, said)| shape.set(key, said));
            said.ok_or_else(|| format!("shape: {part:?} is not understood"))?;
        }
        Ok(shape)
    }
}

impl Shape {
    fn set(&mut self, key: &str, said: &str) -> Option<()> {
        let count = || said.parse().ok().filter(|count| (1..=4).contains(count));
        match key {
            "clusters" => self.clusters = count()?,
            "networks" => self.networks = count()?,
            "export" => self.export = value(&EXPORTS, said)?,
            "addresses" => self.addresses = value(&ADDRESSES, said)?,
            "stale" if said == "never" => self.stale_ms_max = None,
            "stale" => self.stale_ms_max = Some(said.parse().ok()?),
            "sabotage" => self.sabotage = value(&SABOTAGES, said)?,
            _ => return None,
        }
        Some(())
    }
}
