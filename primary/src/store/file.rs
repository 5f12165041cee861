//! One redb file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diolkos_facts::HostName;
use diolkos_topology::{ClusterId, Fact};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use super::encode::{self, ClusterRow, VERSION};
use super::{Backend, Batch, ClusterBatch, Stored, StoredCluster};

const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const CLUSTERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("clusters");
/// By cluster and key, so that a change writes no more than itself.
const FACTS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("facts");
const NAMES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("names");

/// While another process has the file.
const OPEN_TRIES: u32 = 20;
const OPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

pub(crate) struct FileStore {
    path: PathBuf,
    database: Option<Database>,
}

impl FileStore {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), database: None }
    }

    fn open(&mut self) -> Result<&Database, String> {
        if self.database.is_none() {
            let database = match self.opened() {
                Err(Trouble::Broken(why)) => self.begin_anew(&why)?,
                Err(Trouble::Other(why)) => return Err(why),
                Ok(database) => database,
            };
            self.database = Some(database);
        }
        self.database.as_ref().ok_or_else(|| "the store is not open".into())
    }

    fn opened(&self) -> Result<Database, Trouble> {
        let open = || catch_unwind(AssertUnwindSafe(|| Database::create(&self.path)));
        let mut opened = open();
        // The primary before this one may still be writing its last.
        for _ in 0..OPEN_TRIES {
            if !matches!(opened, Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen))) {
                break;
            }
            std::thread::sleep(OPEN_PAUSE);
            opened = open();
        }
        let database = match opened {
            Err(_) => return Err(Trouble::Broken("it cannot be opened".into())),
            Ok(Err(redb::DatabaseError::Storage(error))) => return Err(of_storage(&error)),
            Ok(Err(error @ redb::DatabaseError::UpgradeRequired(_))) => {
                return Err(Trouble::Other(error.to_string()));
            }
            Ok(Err(error)) => return Err(Trouble::Other(error.to_string())),
            Ok(Ok(database)) => database,
        };
        let version = catch_unwind(AssertUnwindSafe(|| version(&database)));
        match version.map_err(|_| Trouble::Broken("it cannot be read".into()))? {
            Err(why) => Err(Trouble::Broken(why)),
            Ok(Some(found)) if found > VERSION => Err(Trouble::Other(format!(
                "it is of version {found}, and this primary knows {VERSION}; it is left alone"
            ))),
            Ok(Some(found)) if found < VERSION => Err(Trouble::Broken(format!(
                "it is of version {found}, and this primary knows {VERSION}"
            ))),
            Ok(_) => Ok(database),
        }
    }

    /// The broken file stays for whoever wants to look at it.
    fn begin_anew(&self, why: &str) -> Result<Database, String> {
        let aside = self.path.with_extension("broken");
        tracing::error!(
            "store {}: {why}; it is moved to {} and begun anew",
            self.path.display(),
            aside.display()
        );
        std::fs::rename(&self.path, &aside)
            .map_err(|error| format!("{why}, and cannot be moved aside: {error}"))?;
        self.opened().map_err(|trouble| match trouble {
            Trouble::Broken(why) | Trouble::Other(why) => why,
        })
    }
}

enum Trouble {
    /// What is in the file is no store.
    Broken(String),
    Other(String),
}

fn of_storage(error: &redb::StorageError) -> Trouble {
    match error {
        redb::StorageError::Corrupted(why) => Trouble::Broken(why.clone()),
        redb::StorageError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Trouble::Broken(error.to_string())
        }
        other => Trouble::Other(other.to_string()),
    }
}

fn version(database: &Database) -> Result<Option<u64>, String> {
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    match transaction.open_table(ABOUT) {
        Ok(about) => {
            let found = about.get("version").map_err(|error| error.to_string())?;
            Ok(found.map(|version| version.value()))
        }
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

impl Backend for FileStore {
    fn load(&mut self) -> Result<Stored, String> {
        let database = self.open()?;
        let loaded = catch_unwind(AssertUnwindSafe(|| load(database)));
        loaded.unwrap_or_else(|_| Err("it cannot be read".into()))
    }

    fn write(&mut self, batch: &Batch, now: SystemTime) -> Result<(), String> {
        let database = self.open()?;
        let written = catch_unwind(AssertUnwindSafe(|| write(database, batch, now)));
        let written = written.unwrap_or_else(|_| Err("it cannot be written".into()));
        if written.is_err() {
            // A file that failed once is opened anew.
            self.database = None;
        }
        written
    }
}

fn load(database: &Database) -> Result<Stored, String> {
    let mut stored = Stored::default();
    let transaction = database.begin_read().map_err(text)?;
    let Some(clusters) = transaction.open_table(CLUSTERS).map(Some).or_else(missing)? else {
        return Ok(stored);
    };
    for row in clusters.iter().map_err(text)? {
        let (name, row) = row.map_err(text)?;
        let row = encode::read::<ClusterRow>(row.value());
        let (Ok(cluster), Some(row)) = (ClusterId::new(name.value()), row) else {
            stored.unreadable += 1;
            continue;
        };
        let fresh = row.fresh();
        let facts = Vec::new();
        stored.clusters.insert(cluster, StoredCluster { settings: row.settings, fresh, facts });
    }
    if let Some(facts) = transaction.open_table(FACTS).map(Some).or_else(missing)? {
        for row in facts.iter().map_err(text)? {
            let (key, fact) = row.map_err(text)?;
            let cluster = ClusterId::new(key.value().0).ok();
            let known = cluster.and_then(|cluster| stored.clusters.get_mut(&cluster));
            match (known, encode::read::<Fact>(fact.value())) {
                (Some(known), Some(fact)) => known.facts.push(fact),
                _ => stored.unreadable += 1,
            }
        }
    }
    if let Some(names) = transaction.open_table(NAMES).map(Some).or_else(missing)? {
        for row in names.iter().map_err(text)? {
            let (name, addresses) = row.map_err(text)?;
            match (HostName::new(name.value()), encode::read(addresses.value())) {
                (Ok(name), Some(addresses)) => drop(stored.names.insert(name, addresses)),
                _ => stored.unreadable += 1,
            }
        }
    }
    Ok(stored)
}

fn missing<T>(error: redb::TableError) -> Result<Option<T>, String> {
    match error {
        redb::TableError::TableDoesNotExist(_) => Ok(None),
        error => Err(error.to_string()),
    }
}

fn write(database: &Database, batch: &Batch, now: SystemTime) -> Result<(), String> {
    let transaction = database.begin_write().map_err(text)?;
    {
        let mut about = transaction.open_table(ABOUT).map_err(text)?;
        about.insert("version", VERSION).map_err(text)?;
        let mut names = transaction.open_table(NAMES).map_err(text)?;
        for (name, addresses) in &batch.names {
            names.insert(name.as_str(), encode::written(addresses).as_slice()).map_err(text)?;
        }
    }
    for (cluster, changed) in &batch.clusters {
        write_cluster(&transaction, cluster.as_str(), changed, now)?;
    }
    transaction.commit().map_err(text)
}

fn write_cluster(
    transaction: &WriteTransaction,
    cluster: &str,
    batch: &ClusterBatch,
    now: SystemTime,
) -> Result<(), String> {
    let mut clusters = transaction.open_table(CLUSTERS).map_err(text)?;
    let mut facts = transaction.open_table(FACTS).map_err(text)?;
    let known = clusters.get(cluster).map_err(text)?;
    let known = known.and_then(|row| encode::read::<ClusterRow>(row.value()));
    if batch.forget {
        clusters.remove(cluster).map_err(text)?;
        // A name is never empty, so this is where the next one begins at the earliest.
        let next = format!("{cluster}\0");
        let from = (cluster, [].as_slice());
        let to = (next.as_str(), [].as_slice());
        facts.retain_in(from..to, |_, _| false).map_err(text)?;
    }
    let fresh = match (&known, batch.fresh) {
        (Some(known), false) => known.fresh(),
        _ => now,
    };
    let settings = batch.settings.clone();
    let settings = settings.or_else(|| known.filter(|_| !batch.forget).map(|row| row.settings));
    let Some(settings) = settings else { return Ok(()) };
    let row = encode::written(&ClusterRow::new(settings, fresh));
    clusters.insert(cluster, row.as_slice()).map_err(text)?;
    for (key, fact) in &batch.facts {
        let key = encode::key(key);
        match fact {
            Some(fact) => {
                let fact = encode::fact(fact);
                facts.insert((cluster, key.as_slice()), fact.as_slice()).map_err(text)?;
            }
            None => drop(facts.remove((cluster, key.as_slice())).map_err(text)?),
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
