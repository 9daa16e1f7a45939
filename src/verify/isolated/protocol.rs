//! What a worker is asked and what it answers: frames of a mark, a header in JSON and raw bytes.
//!
//! Numbers are little-endian. A runtime may print lines of its own on the worker's standard output:
//! whatever stands between two frames is skipped.

use std::io::{self, BufRead, ErrorKind, Read as _, Write};

use ndarray::{ArrayD, IxDyn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::verify::runtime::{NamedTensors, Optimization, TensorInfo};
use crate::verify::trial::Trial;

/// What each frame begins with. Its first byte occurs once.
const MARK: &[u8; 17] = b"\0onnx-bnnprune/1\n";
/// Longest header read.
const MAX_HEADER: u64 = 256 << 20;
/// Numbers converted at a time.
const CHUNK: usize = 1 << 14;

/// Name and dimensions of each tensor in a frame's bytes, one after another.
pub(super) type Shapes = Vec<(String, Vec<usize>)>;

/// What a worker is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Takes the model in the bytes for the requests that follow.
    Load {
        optimization: Optimization,
        threads: usize,
        /// What this process may use from now on, in MiB.
        memory: u64,
    },
    /// Loads the model in the bytes and runs it once on made-up inputs.
    TryOut { seed: u64, memory: u64 },
    /// Runs the model on the tensors in the bytes.
    Run { inputs: Shapes },
    /// Runs the model on them again and again.
    Time {
        inputs: Shapes,
        warm_up: usize,
        runs: usize,
    },
}

/// What a worker answers. The first one comes unasked.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// It has its runtime.
    Ready {
        name: String,
        version: String,
    },
    Loaded {
        inputs: Vec<TensorInfo>,
        outputs: Vec<TensorInfo>,
    },
    Tried(Trial),
    /// The outputs are in the bytes.
    Ran {
        outputs: Shapes,
    },
    /// Milliseconds of each run.
    Timed(Vec<f64>),
    Missing(String),
    CannotLoad(String),
    CannotRun(String),
    Other(String),
}

/// What follows a header.
pub(super) enum Payload<'a> {
    Bytes(&'a [u8]),
    Tensors(&'a [(String, ArrayD<f32>)]),
}

impl Payload<'_> {
    pub(super) const NONE: Payload<'static> = Payload::Bytes(&[]);
}

/// Names and dimensions of tensors.
pub(super) fn shapes(of: &[(String, ArrayD<f32>)]) -> Shapes {
    of.iter()
        .map(|(name, x)| (name.clone(), x.shape().to_vec()))
        .collect()
}

/// Writes a frame.
pub(super) fn send(
    to: &mut impl Write,
    header: &impl Serialize,
    payload: &Payload<'_>,
) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let length = match payload {
        Payload::Bytes(bytes) => bytes.len() as u64,
        Payload::Tensors(tensors) => tensors.iter().map(|(_, x)| 4 * x.len() as u64).sum(),
    };
    let mut start = MARK.to_vec();
    start.extend((header.len() as u64).to_le_bytes());
    start.extend(length.to_le_bytes());
    start.extend(header);
    to.write_all(&start)?;
    match payload {
        Payload::Bytes(bytes) => to.write_all(bytes)?,
        Payload::Tensors(tensors) => {
            for (_, x) in *tensors {
                send_floats(to, x)?;
            }
        }
    }
    to.flush()
}

fn send_floats(to: &mut impl Write, x: &ArrayD<f32>) -> io::Result<()> {
    let x = x.as_standard_layout();
    let mut bytes = vec![0; 4 * CHUNK];
    for numbers in x.as_slice().unwrap_or_default().chunks(CHUNK) {
        let (places, _) = bytes.as_chunks_mut::<4>();
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        to.write_all(bytes.get(..4 * numbers.len()).unwrap_or_default())?;
    }
    Ok(())
}

/// The next frame, whose bytes may be `most`; `None` where there is none any more.
pub(super) fn receive<H: DeserializeOwned>(
    from: &mut impl BufRead,
    most: u64,
) -> io::Result<Option<(H, Vec<u8>)>> {
    if !skip_to_mark(from)? {
        return Ok(None);
    }
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let (header, payload) = (number()?, number()?);
    if header > MAX_HEADER || payload > most {
        let why = format!("a frame of {header} and {payload} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    let header = exactly(from, header)?;
    let payload = exactly(from, payload)?;
    Ok(Some((serde_json::from_slice(&header)?, payload)))
}

/// Reads up to the end of the next mark; whether there is one.
fn skip_to_mark(from: &mut impl BufRead) -> io::Result<bool> {
    let mut matched = 0;
    while let Some(&wanted) = MARK.get(matched) {
        let Some(&byte) = from.fill_buf()?.first() else {
            return Ok(false);
        };
        from.consume(1);
        matched = match byte {
            b if b == wanted => matched + 1,
            b if b == MARK[0] => 1,
            _ => 0,
        };
    }
    Ok(true)
}

fn exactly(from: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(size)
        .map_err(|e| io::Error::new(ErrorKind::OutOfMemory, e))?;
    from.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The tensors in a frame's bytes; `None` if these are not what the shapes say.
pub(super) fn tensors(shapes: Shapes, bytes: &[u8]) -> Option<NamedTensors> {
    let mut rest = bytes;
    let mut found = Vec::with_capacity(shapes.len());
    for (name, shape) in shapes {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let (mine, after) = rest.split_at_checked(elements.checked_mul(4)?)?;
        rest = after;
        let numbers = mine.as_chunks::<4>().0.iter();
        let numbers = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        found.push((name, ArrayD::from_shape_vec(IxDyn(&shape), numbers).ok()?));
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, arr0};

    #[test]
    fn frames_survive_the_way_and_what_stands_between_them() {
        let x = Array::from_shape_fn(IxDyn(&[3, 2 * CHUNK]), |i| i[0] as f32 - i[1] as f32);
        let sent = [
            ("x".to_owned(), x.t().to_owned().into_dyn()),
            ("n".to_owned(), arr0(f32::NEG_INFINITY).into_dyn()),
        ];
        let mut pipe = b"a line of the runtime\n\0onnx\0".to_vec();
        let outputs = shapes(&sent);
        send(
            &mut pipe,
            &Answer::Ran { outputs },
            &Payload::Tensors(&sent),
        )
        .unwrap();
        pipe.extend(b"another\n");
        send(&mut pipe, &Answer::Timed(vec![0.5]), &Payload::NONE).unwrap();
        let mut pipe = pipe.as_slice();
        let frame = receive(&mut pipe, 1 << 20).unwrap();
        let Some((Answer::Ran { outputs }, bytes)) = frame else {
            panic!("another answer")
        };
        assert_eq!(tensors(outputs.clone(), &bytes).unwrap(), sent);
        assert!(tensors(outputs, &bytes[1..]).is_none());
        let frame = receive(&mut pipe, 0).unwrap();
        assert!(matches!(frame, Some((Answer::Timed(t), _)) if t == [0.5]));
        assert!(receive::<Answer>(&mut pipe, 0).unwrap().is_none());
    }

    #[test]
    fn frames_that_are_too_large_or_cut_short_are_errors() {
        let mut pipe = Vec::new();
        send(
            &mut pipe,
            &Answer::Timed(vec![]),
            &Payload::Bytes(&[1; 100]),
        )
        .unwrap();
        assert!(receive::<Answer>(&mut pipe.as_slice(), 99).is_err());
        assert!(receive::<Answer>(&mut &pipe[..pipe.len() - 1], 100).is_err());
        assert!(receive::<Answer>(&mut pipe.as_slice(), 100).is_ok());
    }
}
