//! Threads in the place of processes, for tests.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Barrier, Mutex};

use bytes::Bytes;

use super::{Absent, Communicator};

/// What the members have laid down for each other.
#[derive(Debug)]
struct Table {
    barrier: Barrier,
    /// Of each member, for each member; `None`: it has failed.
    laid: Mutex<Vec<Option<Vec<Bytes>>>>,
}

/// A thread that stands for a process.
#[derive(Debug)]
pub(crate) struct Member<'t> {
    rank: usize,
    size: usize,
    table: &'t Table,
    /// Who has failed: nobody listens any more.
    absent: Mutex<Option<usize>>,
}

impl Member<'_> {
    /// Says, instead of the call that the others wait in, that this one has failed.
    pub(crate) fn fail(&self) {
        let _ = self.talk(None);
    }

    fn talk(&self, mine: Option<Vec<Bytes>>) -> Result<Vec<Bytes>, Absent> {
        if let Some(rank) = *self.absent.lock().unwrap() {
            return Err(Absent { rank });
        }
        self.table.laid.lock().unwrap()[self.rank] = mine;
        self.table.barrier.wait();
        let found: Result<Vec<Bytes>, Absent> = {
            let laid = self.table.laid.lock().unwrap();
            let of = |(rank, them): (usize, &Option<Vec<Bytes>>)| match them {
                Some(them) => Ok(them[self.rank].clone()),
                None => Err(Absent { rank }),
            };
            laid.iter().enumerate().map(of).collect()
        };
        self.table.barrier.wait();
        *self.absent.lock().unwrap() = found.as_ref().err().map(|e| e.rank);
        found
    }
}

impl Communicator for Member<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        self.talk(Some(vec![Bytes::copy_from_slice(mine); self.size]))
    }

    fn exchange(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        let length = mine.len() / self.size;
        let piece = |rank: usize| Bytes::copy_from_slice(&mine[rank * length..][..length]);
        self.talk(Some((0..self.size).map(piece).collect()))
    }

    fn stops(&self) -> bool {
        false
    }
}

/// What `f` gives in each of `size` threads that stand for the processes of a run, each with one thread of its
/// own to work with.
pub(crate) fn in_threads<T: Send>(size: usize, f: impl Fn(&Member<'_>) -> T + Sync) -> Vec<T> {
    let table = Table {
        barrier: Barrier::new(size),
        laid: Mutex::new(vec![None; size]),
    };
    let member = |rank| {
        let member = Member {
            rank,
            size,
            table: &table,
            absent: Mutex::new(None),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let work = || catch_unwind(AssertUnwindSafe(|| f(&member)));
        pool.install(work).unwrap_or_else(|panic| {
            // The others must not wait for this one.
            member.fail();
            resume_unwind(panic)
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size).map(|r| scope.spawn(move || member(r))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}
