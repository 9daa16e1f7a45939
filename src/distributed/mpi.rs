//! Processes that `mpirun` has started, over MPI.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mpi::Threading;
use mpi::collective::CommunicatorCollectives as _;
use mpi::environment::Universe;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Absent, Communicator, Ending};

/// How long a process waits for the others at full speed, before it lets others have the processor.
const EAGER: Duration = Duration::from_millis(20);
/// How long it then sleeps at a time.
const NAP: Duration = Duration::from_micros(200);
/// The same where the others are busy with something else, such as verifying.
const LONG_NAP: Duration = Duration::from_millis(10);
/// Bytes that are sent in one call at most; MPI counts them in 32 bits.
const MOST: usize = 1 << 30;

/// What a process says of itself before anything else is exchanged.
const GOES_ON: u64 = 0;
const ENDS_WELL: u64 = 1;
const FAILED: u64 = 2;

/// The processes that `mpirun` has started.
pub struct Mpi {
    /// MPI itself, until this is dropped.
    _universe: Universe,
    talk: Talk,
}

/// What may be used from any thread, one at a time.
pub struct Talk {
    rank: usize,
    size: usize,
    /// Set when this process is asked to stop.
    wants: Arc<AtomicBool>,
    /// Whether one of them was, when they last talked.
    stops: AtomicBool,
    /// Which process has failed, and with which exit code: nobody listens any more.
    over: OnceLock<(Absent, u8)>,
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

impl Mpi {
    /// Joins the processes; `wants` is set when this one is asked to stop. `None` if MPI does not start, or
    /// not so that threads of a pool may talk, one at a time.
    pub fn start(wants: Arc<AtomicBool>) -> Option<Self> {
        let (universe, given) = mpi::initialize_with_threading(Threading::Serialized)?;
        if given < Threading::Serialized {
            return None;
        }
        let world = universe.world();
        let number = |n: i32| usize::try_from(n).unwrap_or_default();
        let talk = Talk {
            rank: number(world.rank()),
            size: number(world.size()).max(1),
            wants,
            stops: AtomicBool::new(false),
            over: OnceLock::new(),
        };
        Some(Self {
            _universe: universe,
            talk,
        })
    }

    /// How the processes talk to each other.
    pub fn talk(&self) -> &Talk {
        &self.talk
    }

    /// Ends the run: waits for the others, unless one has failed. `code`: this process's exit code, if it comes
    /// to its end, or `Err` of it if it has failed by itself.
    pub fn end(&self, code: Result<u8, u8>) -> Ending {
        let talk = &self.talk;
        let own = code.unwrap_or_else(|code| code);
        let follows = talk.rank > 0;
        if let Some(&(_, code)) = talk.over.get() {
            // Who failed has said why, and the first one that it failed.
            return Ending {
                code,
                told: follows,
            };
        }
        let state = if code.is_ok() { ENDS_WELL } else { FAILED };
        let all = talk.headers(state, usize::from(own), LONG_NAP);
        let first = all.first().filter(|first| first.state != GOES_ON);
        Ending {
            code: first
                .and_then(|f| u8::try_from(f.number).ok())
                .unwrap_or(own),
            told: follows && (code.is_ok() || first.is_some_and(|f| f.state == FAILED)),
        }
    }
}

/// What a process says of itself, and a number.
#[derive(Debug, Clone, Copy)]
struct Header {
    state: u64,
    stop: bool,
    number: usize,
}

impl Talk {
    /// Everybody's header, by rank. Waits without taking the processor from those who work.
    fn headers(&self, state: u64, number: usize, nap: Duration) -> Vec<Header> {
        let stop = u64::from(self.wants.load(Ordering::Relaxed));
        let mine = [state, stop, number as u64];
        let mut all = vec![0u64; mine.len() * self.size];
        mpi::request::scope(|scope| {
            let world = SimpleCommunicator::world();
            let mut request = world.immediate_all_gather_into(scope, &mine[..], &mut all[..]);
            let begun = Instant::now();
            while let Err(waiting) = request.test() {
                request = waiting;
                match begun.elapsed() < EAGER {
                    true => std::thread::yield_now(),
                    false => std::thread::sleep(nap),
                }
            }
        });
        let header = |&[state, stop, number]: &[u64; 3]| Header {
            state,
            stop: stop > 0,
            number: number as usize,
        };
        let headers: Vec<Header> = all.as_chunks().0.iter().map(header).collect();
        let stops = headers.iter().any(|h| h.stop);
        self.stops.store(stops, Ordering::Relaxed);
        headers
    }

    /// The number that each process sends, if all go on.
    fn meet(&self, number: usize) -> Result<Vec<usize>, Absent> {
        if let Some(&(who, _)) = self.over.get() {
            return Err(who);
        }
        let headers = self.headers(GOES_ON, number, NAP);
        let mut ended = headers.iter().enumerate();
        match ended.find(|(_, h)| h.state != GOES_ON) {
            Some((rank, header)) => {
                let who = Absent { rank };
                let code = u8::try_from(header.number).unwrap_or(2);
                Err(self.over.get_or_init(|| (who, code)).0)
            }
            None => Ok(headers.into_iter().map(|h| h.number).collect()),
        }
    }
}

/// Pieces one behind the other.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match &pieces[..] {
        [piece] => piece.clone(),
        pieces => pieces.concat().into(),
    }
}

impl Communicator for Talk {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        let lengths = self.meet(mine.len())?;
        let most = lengths.iter().max().copied().unwrap_or_default();
        let world = SimpleCommunicator::world();
        let mut found: Vec<Vec<Bytes>> = vec![Vec::new(); self.size];
        // In pieces of one length, which MPI can count.
        let piece = (MOST / self.size).max(1);
        for start in (0..most).step_by(piece) {
            let length = (most - start).min(piece);
            let part = |whole: usize| start.min(whole)..(start + length).min(whole);
            let mut taken = vec![0; self.size * length];
            match &mine[part(mine.len())] {
                all if all.len() == length => world.all_gather_into(all, &mut taken[..]),
                some => {
                    let mut all = some.to_vec();
                    all.resize(length, 0);
                    world.all_gather_into(&all[..], &mut taken[..]);
                }
            }
            let taken = Bytes::from(taken);
            for (rank, (found, &whole)) in found.iter_mut().zip(&lengths).enumerate() {
                let at = rank * length;
                found.push(taken.slice(at..at + part(whole).len()));
            }
        }
        Ok(found.into_iter().map(joined).collect())
    }

    fn exchange(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        self.meet(mine.len())?;
        let world = SimpleCommunicator::world();
        let whole = mine.len() / self.size;
        let mut found: Vec<Vec<Bytes>> = vec![Vec::new(); self.size];
        let piece = (MOST / self.size).max(1);
        for start in (0..whole).step_by(piece) {
            let length = (whole - start).min(piece);
            let mut taken = vec![0; self.size * length];
            if length == whole {
                world.all_to_all_into(mine, &mut taken[..]);
            } else {
                let each = mine.chunks_exact(whole);
                let given: Vec<&[u8]> = each.map(|m| &m[start..start + length]).collect();
                world.all_to_all_into(&given.concat()[..], &mut taken[..]);
            }
            let taken = Bytes::from(taken);
            for (rank, found) in found.iter_mut().enumerate() {
                found.push(taken.slice(rank * length..(rank + 1) * length));
            }
        }
        Ok(found.into_iter().map(joined).collect())
    }

    fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }
}
