//! Processes that share the work of one run: who does what, and how what they found comes together.
//!
//! Each process has all images and all weights, and takes a fixed share of every batch. What each found is
//! added up in an order that depends on the batch alone ([`tree`]), so any number of processes gives the bytes
//! of one. They talk through a [`Communicator`]: [`Alone`] where there is one process, MPI's (cargo feature
//! `mpi`) where `mpirun` started several.

#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(test)]
mod threads;
pub mod tree;

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;

use bytemuck::Pod;
use bytes::Bytes;
use thiserror::Error;

#[cfg(test)]
pub(crate) use threads::in_threads;

/// Another process of the run has ended with an error, which it has said itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("process {rank} of the run failed (counted from 0)")]
pub struct Absent {
    /// Which one.
    pub rank: usize,
}

/// How the run of a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The exit code: the first process's where that came to its end, or of whoever failed.
    pub code: u8,
    /// Whether another process says what there is to say.
    pub told: bool,
}

/// How a process talks to the others of its run. All of them call the same functions in the same order.
pub trait Communicator: Debug + Sync {
    /// Which of the processes this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// What each process has, by rank.
    ///
    /// # Errors
    /// If one of them has failed.
    fn gather(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent>;

    /// What each process has for this one, by rank, where this one has `mine` for them: a piece for each, all of
    /// one length, one after another.
    ///
    /// # Errors
    /// If one of them has failed.
    fn exchange(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent>;

    /// Whether a process wanted to stop when they last talked: all of them then give the same answer.
    fn stops(&self) -> bool;
}

/// The only process of its run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        Ok(vec![Bytes::copy_from_slice(mine)])
    }

    fn exchange(&self, mine: &[u8]) -> Result<Vec<Bytes>, Absent> {
        self.gather(mine)
    }

    fn stops(&self) -> bool {
        false
    }
}

/// Variables in which a launcher says how many processes it has started: Open MPI's, MPICH's, Slurm's.
const STARTED: [&str; 4] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MPI_LOCALNRANKS",
    "SLURM_STEP_NUM_TASKS",
];
/// The same, of those on this machine.
const STARTED_HERE: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

/// How many processes a launcher such as `mpirun` says it has started; 1 without one.
pub fn processes_started() -> usize {
    most_of(&STARTED)
}

/// How many of them on this machine, as far as the launcher says.
pub fn processes_here() -> usize {
    most_of(&STARTED_HERE)
}

fn most_of(names: &[&str]) -> usize {
    let counts = names.iter().filter_map(|name| std::env::var(name).ok());
    let counts = counts.filter_map(|n| n.parse::<usize>().ok());
    counts.max().unwrap_or(1).max(1)
}

/// Which of `count` things are the share of process `rank` of `size`: neighbours, as evenly as possible, the
/// first processes having one more.
pub fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    let size = size.max(1);
    let (each, more) = (count / size, count % size);
    let start = |rank: usize| rank * each + rank.min(more);
    start(rank)..start(rank + 1)
}

impl dyn Communicator + '_ {
    /// Which of `count` things are this process's share.
    pub fn share(&self, count: usize) -> Range<usize> {
        share(count, self.rank(), self.size())
    }

    /// All numbers of all processes, by rank.
    ///
    /// # Errors
    /// If a process has failed.
    pub fn gather_numbers<T: Pod>(&self, mine: &[T]) -> Result<Vec<T>, Absent> {
        if self.size() == 1 {
            return Ok(mine.to_vec());
        }
        let all = self.gather(bytemuck::cast_slice(mine))?;
        let all: Vec<Cow<'_, [T]>> = all.iter().map(|x| numbers_of(x)).collect();
        Ok(all.concat())
    }
}

/// Numbers from the bytes that another process sent, wherever these lie.
pub(crate) fn numbers_of<T: Pod>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(numbers) => Cow::Borrowed(numbers),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_neighbours_and_even() {
        for (count, size) in [(0, 3), (2, 5), (7, 3), (12, 4)] {
            let shares: Vec<_> = (0..size).map(|r| share(count, r, size)).collect();
            assert!(shares.windows(2).all(|w| w[0].end == w[1].start));
            assert_eq!((shares[0].start, shares[size - 1].end), (0, count));
            let lengths = shares.iter().map(ExactSizeIterator::len);
            assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
        }
    }

    #[test]
    fn processes_hear_each_other_and_of_failures() {
        let found = in_threads(3, |processes| {
            let processes: &dyn Communicator = processes;
            let mine = [processes.rank() as f64, 0.5];
            processes.gather_numbers(&mine[..processes.rank()])
        });
        assert!(found.iter().all(|f| f.as_deref() == Ok(&[1.0, 2.0, 0.5])));
        let found = in_threads(3, |processes| {
            let to: Vec<[u8; 2]> = (0..3).map(|r| [processes.rank() as u8, r]).collect();
            processes.exchange(to.as_flattened())
        });
        for (rank, found) in found.into_iter().enumerate() {
            let expected: Vec<Bytes> = (0..3).map(|r| vec![r, rank as u8].into()).collect();
            assert_eq!(found, Ok(expected));
        }
        let found = in_threads(3, |processes| match processes.rank() {
            1 => {
                processes.fail();
                None
            }
            _ => Some(processes.gather(&[])),
        });
        assert_eq!(found[0], Some(Err(Absent { rank: 1 })));
        assert_eq!(found[2], Some(Err(Absent { rank: 1 })));
    }
}
