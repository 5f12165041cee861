//! Runs: from a seed or an event log, to an event log when something does not hold.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::action::{Action, Swarm};
use crate::invariant::{Invariant, Violation};
use crate::random::Random;
use crate::shape::Shape;
use crate::world::World;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// For names and people; the run follows from the rest.
    pub name: String,
    pub shape: Shape,
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub violation: Violation,
    /// Index of the action after which it did not hold.
    pub at: usize,
    pub log: Vec<String>,
}

impl Run {
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = Shape::random(&mut random);
        let swarm = Swarm::random(&mut random);
        let actions = swarm.actions(&mut random);
        Self { name: format!("seed {seed}"), shape, actions }
    }

    /// A scenario: one action in a line, empty lines and what follows a `#` left out.
    ///
    /// # Errors
    /// The first line that is no action.
    pub fn of_text(name: &str, shape: &Shape, text: &str) -> Result<Self, String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let actions: Result<_, _> =
            lines.filter(|line| !line.is_empty()).map(Action::from_str).collect();
        Ok(Self { name: name.into(), shape: shape.clone(), actions: actions? })
    }

    /// # Errors
    /// The first invariant that did not hold.
    pub fn execute(&self) -> Result<(), Failure> {
        self.step(|_, _| {})
    }

    /// Tells of each action and its part of the log.
    ///
    /// # Errors
    /// As `execute`.
    pub fn step(&self, mut each: impl FnMut(&Action, &[String])) -> Result<(), Failure> {
        let mut world = World::new(&self.shape);
        for (at, action) in self.actions.iter().enumerate() {
            let before = world.log().len();
            let done = catch_unwind(AssertUnwindSafe(|| world.act(*action)));
            let done = done.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).into()));
                let why = text.unwrap_or_else(|| "no message".into());
                Err(Violation { invariant: Invariant::NobodyPanics, why })
            });
            each(action, &world.log()[before..]);
            if let Err(violation) = done {
                return Err(Failure { violation, at, log: world.log().to_vec() });
            }
        }
        Ok(())
    }

    /// The shortest run found that breaks the same invariant.
    pub fn reduced(&self, failure: &Failure) -> Self {
        let mut least = self.clone();
        least.actions.truncate(failure.at + 1);
        let mut size = least.actions.len() / 2;
        while size > 0 {
            let mut from = 0;
            while from < least.actions.len() {
                let mut less = least.clone();
                less.actions.drain(from..(from + size).min(less.actions.len()));
                match less.execute() {
                    Err(same) if same.violation.invariant == failure.violation.invariant => {
                        less.actions.truncate(same.at + 1);
                        least = less;
                    }
                    _ => from += size,
                }
            }
            size /= 2;
        }
        least.name = format!("{}, reduced", self.name);
        least
    }

    /// The file that `replay` reads.
    pub fn event_log(&self, failure: &Failure) -> String {
        let mut text = format!("{HEAD}\nname {}\nshape {}\n", self.name, self.shape);
        for line in &failure.log {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!("# {}\n", failure.violation.to_string().replace('\n', "\n# ")));
        text
    }

    /// Where it was written.
    ///
    /// # Errors
    /// Where the file could not be written.
    pub fn write(&self, failure: &Failure, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let name: String =
            self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = folder.join(format!("sim-{name}.log"));
        std::fs::write(&path, self.event_log(failure))?;
        Ok(path)
    }

    /// What to print where a run failed: everything that is needed to see it again.
    pub fn report(&self, failure: &Failure, folder: &Path) -> String {
        let written = match self.write(failure, folder) {
            Ok(path) => {
                let path = path.display();
                format!("event log {path}\nreplay with: cargo run -p diolkos-sim -- replay {path}")
            }
            Err(error) => format!("the event log could not be written: {error}"),
        };
        format!(
            "{} failed after action {} of {}\nviolated: {}\n{written}",
            self.name,
            failure.at + 1,
            self.actions.len(),
            failure.violation
        )
    }
}

const HEAD: &str = "diolkos-sim 1";

impl FromStr for Run {
    type Err = String;

    /// An event log.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("an event log begins with {HEAD:?}"));
        }
        let mut run = Self { name: String::new(), shape: Shape::default(), actions: Vec::new() };
        for line in lines {
            if let Some(action) = line.strip_prefix("> ") {
                run.actions.push(action.parse()?);
            } else if let Some(shape) = line.strip_prefix("shape ") {
                run.shape = shape.parse()?;
            } else if let Some(name) = line.strip_prefix("name ") {
                run.name = name.into();
            } else if !line.starts_with('#') {
                return Err(format!("{line:?} is no line of an event log"));
            }
        }
        Ok(run)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after action {}: {}", self.at + 1, self.violation)
    }
}
