//! What happens to a mesh. Actions hold indices that wrap around, so that every list of them means
//! something, whatever is taken out of it.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    pub verb: Verb,
    /// Which cluster, or which client.
    pub who: u8,
    /// Of it, which service, message, ...
    pub what: u8,
    pub how: u8,
}

/// What a verb is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A cluster changes.
    Truth,
    /// Something moves on, as it does when nothing is wrong.
    Flow,
    /// Something goes wrong.
    Fault,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident $word:literal $class:ident $weight:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Verb { $($(#[$doc])* $verb,)* }

        impl Verb {
            pub const ALL: &[Self] = &[$(Self::$verb,)*];

            pub fn word(self) -> &'static str {
                match self { $(Self::$verb => $word,)* }
            }

            pub fn class(self) -> Class {
                match self { $(Self::$verb => Class::$class,)* }
            }

            /// How often it is chosen, against the others.
            fn weight(self) -> usize {
                match self { $(Self::$verb => $weight,)* }
            }
        }
    };
}

verbs! {
    PutEndpoint "put-endpoint" Truth 12,
    RemoveEndpoint "remove-endpoint" Truth 5,
    /// To `how` endpoints.
    Scale "scale" Truth 2,
    PutService "put-service" Truth 4,
    RemoveService "remove-service" Truth 2,
    Export "export" Truth 4,
    Unexport "unexport" Truth 2,
    AddGateway "add-gateway" Truth 2,
    RemoveGateway "remove-gateway" Truth 2,
    MoveNode "move-node" Truth 2,
    /// Moves the whole cluster to a network.
    SetNetwork "set-network" Truth 1,
    /// The next few messages of a cluster arrive.
    Deliver "deliver" Flow 20,
    DeliverAll "deliver-all" Flow 4,
    /// A client and the primary exchange a few messages; a client that was cut comes back.
    Pump "pump" Flow 30,
    PumpAll "pump-all" Flow 2,
    Advance "advance" Flow 1,
    /// To the primary's next deadline.
    Deadline "deadline" Flow 1,
    /// What a partition cut is joined: the source starts a new epoch and says everything.
    Heal "heal" Flow 4,
    /// The cluster is watched again.
    Fresh "fresh" Flow 2,
    Wake "wake" Flow 4,
    /// The source begins another generation beside the one there is.
    Rotate "rotate" Fault 2,
    /// A message and all behind it are lost: the stream ends, the source starts a new epoch.
    Drop "drop" Fault 2,
    Duplicate "duplicate" Fault 4,
    /// A message is overtaken by others.
    Reorder "reorder" Fault 4,
    Partition "partition" Fault 2,
    /// A source says everything of one kind again.
    Relist "relist" Fault 3,
    /// A source forgets what it was saying and starts a new epoch.
    CrashSource "crash-source" Fault 1,
    /// It comes back knowing nothing.
    RestartPrimary "restart-primary" Fault 1,
    /// Nobody sees the cluster's source.
    Stale "stale" Fault 2,
    /// The client neither reads nor writes until it wakes.
    Slow "slow" Fault 3,
    Cut "cut" Fault 3,
    /// The client refuses the next response that brings it anything.
    Nack "nack" Fault 2,
    /// Faults end, everything arrives, everybody comes to rest; then all must be as it should.
    Settle "settle" Flow 0,
}

impl Action {
    pub fn new(verb: Verb, who: u8, what: u8, how: u8) -> Self {
        Self { verb, who, what, how }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.verb.word(), self.who, self.what, self.how)
    }
}

impl FromStr for Action {
    type Err = String;

    /// Numbers left out are 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        let verb = Verb::ALL.iter().find(|verb| verb.word() == word);
        let verb = *verb.ok_or_else(|| format!("action: {word:?} is no verb"))?;
        let mut numbers = [0; 3];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.parse().map_err(|_| format!("action: {word:?} is no index"))?;
        }
        Ok(Self::new(verb, numbers[0], numbers[1], numbers[2]))
    }
}

/// Which actions a run is made of. Swarm: each run leaves out some, so that rare mixes occur.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    verbs: Vec<Verb>,
    total: usize,
}

impl Swarm {
    pub(crate) fn random(random: &mut Random) -> Self {
        let calm = random.one_in(4);
        let chosen = |verb: &&Verb| match verb.class() {
            Class::Flow => true,
            Class::Truth => !calm,
            // Overtaken resets make what they say again disappear for a moment.
            Class::Fault if calm && **verb == Verb::Reorder => false,
            Class::Fault => random.one_in(2),
        };
        let verbs: Vec<Verb> = Verb::ALL.iter().filter(chosen).copied().collect();
        let total = verbs.iter().map(|verb| verb.weight()).sum();
        Self { verbs, total }
    }

    fn next(&self, random: &mut Random) -> Action {
        let mut point = random.below(self.total);
        let mut verb = Verb::Settle;
        for one in &self.verbs {
            verb = *one;
            if point < one.weight() {
                break;
            }
            point -= one.weight();
        }
        let bits = random.next().to_le_bytes();
        Action::new(verb, bits[0], bits[1], bits[2])
    }

    /// A few rounds, each of which ends at rest.
    pub(crate) fn actions(&self, random: &mut Random) -> Vec<Action> {
        let settle = Action::new(Verb::Settle, 0, 0, 0);
        let mut actions = Vec::new();
        // The first check is of a mesh that nothing ever happened to.
        actions.push(settle);
        for _ in 0..ROUNDS {
            let count = 20 + random.below(ACTIONS_PER_ROUND_MAX - 20);
            actions.extend((0..count).map(|_| self.next(random)));
            actions.push(settle);
        }
        actions
    }
}

/// Short rounds find what a check at rest can see, and few actions are quick to reduce; long ones
/// pile up more in flight.
const ROUNDS: usize = 3;
const ACTIONS_PER_ROUND_MAX: usize = 90;
