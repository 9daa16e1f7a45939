//! Images that stay in an archive, or in a file that it was unpacked into, and are read row by row.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayD, Axis, IxDyn};
use rayon::prelude::*;
use zip::CompressionMethod;

use super::super::DataError;
use super::super::arrays::{finite, other_than_byte};
use super::super::catalogue::MAX_FILE_BYTES;
use super::super::load::Progress;
use super::super::reading::sum;
use super::{Archive, Member, Order};
use crate::files;

/// Bytes that are read at once while all images are looked at.
const STRETCH: usize = 16 << 20;

/// The numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Byte,
    Single { big_endian: bool },
    Double { big_endian: bool },
}

impl Number {
    /// Of a numpy type such as `<f4`.
    fn of(dtype: &str) -> Option<Self> {
        Some(match dtype {
            "|u1" => Self::Byte,
            "<f4" => Self::Single { big_endian: false },
            ">f4" => Self::Single { big_endian: true },
            "<f8" => Self::Double { big_endian: false },
            ">f8" => Self::Double { big_endian: true },
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Single { .. } => 4,
            Self::Double { .. } => 8,
        }
    }

    /// A row's numbers.
    fn values(self, row: &[u8]) -> Vec<f32> {
        fn words<const N: usize>(row: &[u8]) -> impl Iterator<Item = [u8; N]> {
            row.chunks_exact(N)
                .map(|word| word.try_into().unwrap_or([0; N]))
        }
        match self {
            Self::Byte => row.iter().map(|&v| f32::from(v)).collect(),
            Self::Single { big_endian: true } => words(row).map(f32::from_be_bytes).collect(),
            Self::Single { big_endian: false } => words(row).map(f32::from_le_bytes).collect(),
            Self::Double { big_endian: true } => {
                words(row).map(|w| f64::from_be_bytes(w) as f32).collect()
            }
            Self::Double { big_endian: false } => {
                words(row).map(|w| f64::from_le_bytes(w) as f32).collect()
            }
        }
    }
}

/// Images that are the rows of an array in a file: sets that memory has no room for.
#[derive(Debug)]
pub struct Stored {
    /// The archive.
    path: PathBuf,
    /// The archive, or where its array was unpacked if it was packed: a file without a name, which goes with the process.
    file: File,
    /// Where the first image begins, in bytes.
    offset: u64,
    number: Number,
    order: Order,
    /// The shape of a row as it is stored.
    row: Vec<usize>,
    /// `[C, H, W]`
    shape: [usize; 3],
    /// A number for each image, the same for the same pixels.
    sums: Vec<u64>,
    /// A value that is no whole number from 0 to 255, if there is one.
    other_than_bytes: Option<f32>,
}

impl Stored {
    /// Looks at every image of the array, and unpacks it into a temporary file if it is packed.
    ///
    /// # Errors
    /// If the array is not what its header says, or holds what is no finite number.
    pub(super) fn read(
        path: &Path,
        member: &Member,
        archive: &mut Archive,
        order: Order,
        progress: &Progress<'_>,
    ) -> Result<Self, DataError> {
        let fail = |reason: String| DataError::Npz {
            path: path.to_owned(),
            reason,
        };
        let broken = |source: std::io::Error| fail(format!("{}: {source}", member.name));
        let (number, count, row) = member.rows().map_err(&fail)?;
        let width = row.iter().product::<usize>() * number.width();
        let shape = order.image_shape(&row);
        let mut entry = archive
            .by_name(&member.name)
            .map_err(|e| fail(format!("{}: {e}", member.name)))?;
        let header = super::header(&mut entry).map_err(&fail)?.len() as u64;
        let packed = entry.compression() != CompressionMethod::Stored;
        let offset = match packed {
            true => 0,
            false => entry.data_start() + header,
        };
        let no_room = |source: std::io::Error| {
            let folder = std::env::temp_dir();
            let folder = folder.display();
            fail(format!(
                "larger than --images-mb, so it is unpacked into a file in {folder}: {source}; make room there, name another folder in TMPDIR, or save it with np.savez, which packs nothing"
            ))
        };
        let mut unpacked = match packed {
            true => Some(tempfile::tempfile().map_err(no_room)?),
            false => None,
        };
        let (mut sums, mut other_than_bytes) = (Vec::new(), None);
        let at_once = (STRETCH / width.max(1)).clamp(1, count);
        let mut bytes = vec![0; at_once * width];
        for first in (0..count).step_by(at_once) {
            let rows = at_once.min(count - first);
            let bytes = bytes.get_mut(..rows * width).unwrap_or_default();
            entry.read_exact(bytes).map_err(broken)?;
            if let Some(file) = &mut unpacked {
                file.write_all(bytes).map_err(no_room)?;
            }
            let looked: Result<Vec<_>, String> = (bytes.par_chunks_exact(width).enumerate())
                .map(|(index, bytes)| look(first + index, bytes, number, &row, order))
                .collect();
            for (sum, other) in looked.map_err(&fail)? {
                sums.push(sum);
                other_than_bytes = other_than_bytes.or(other);
            }
            if !progress(first + rows, count) {
                return Err(DataError::Interrupted);
            }
        }
        // Behind the last byte the archive's own sum is looked at.
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(broken)?;
        let file = match unpacked {
            Some(file) => file,
            None => files::open(path).map_err(broken)?,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            offset,
            number,
            order,
            row,
            shape,
            sums,
            other_than_bytes,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// `[C, H, W]` of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// A number for each image, the same for the same pixels.
    pub fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// Whether the images are floats, which are the model's input as they are; else they are pixels.
    pub fn holds_floats(&self) -> bool {
        self.number != Number::Byte
    }

    /// A value that is no whole number from 0 to 255, if there is one.
    pub fn other_than_bytes(&self) -> Option<f32> {
        self.other_than_bytes
    }

    /// An image's pixels `[C, H, W]`.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub(in super::super) fn pixels(&self, index: usize) -> Result<Array3<u8>, DataError> {
        let row = self.bytes(index)?;
        self.image(row)
    }

    /// An image's values `[C, H, W]`.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub(in super::super) fn values(&self, index: usize) -> Result<Array3<f32>, DataError> {
        let row = self.bytes(index)?;
        self.image(self.number.values(&row))
    }

    fn image<T: Copy>(&self, row: Vec<T>) -> Result<Array3<T>, DataError> {
        let row = as_row(row, &self.row);
        let image = row.and_then(|row| as_image(row, self.order));
        image.map_err(|reason| DataError::Npz {
            path: self.path.clone(),
            reason,
        })
    }

    /// The bytes of an image.
    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let width = self.row.iter().product::<usize>() * self.number.width();
        let mut row = vec![0; width];
        let offset = (index as u64).saturating_mul(width as u64);
        files::read_exact_at(&self.file, &mut row, offset.saturating_add(self.offset)).map_err(
            |source| DataError::Io {
                path: self.path.clone(),
                source,
            },
        )?;
        Ok(row)
    }
}

impl Member {
    /// What its numbers are, how many rows it has, and the shape of each.
    fn rows(&self) -> Result<(Number, usize, Vec<usize>), String> {
        let number = Number::of(&self.dtype).ok_or_else(|| super::other_type(&self.dtype))?;
        if self.fortran {
            return Err(
                "x is larger than --images-mb and lies in Fortran's order, image by image nowhere; save np.ascontiguousarray(x), or raise --images-mb"
                    .to_owned(),
            );
        }
        let (&count, row) = self.shape.split_first().ok_or("x is a single number")?;
        let width = row
            .iter()
            .try_fold(number.width(), |n, &side| n.checked_mul(side));
        match width {
            Some(width) if width as u64 <= MAX_FILE_BYTES => Ok((number, count, row.to_vec())),
            _ => Err(format!(
                "an image of x takes more than {MAX_FILE_BYTES} bytes"
            )),
        }
    }
}

/// The sum of an image, and a value that is not a byte.
fn look(
    index: usize,
    bytes: &[u8],
    number: Number,
    row: &[usize],
    order: Order,
) -> Result<(u64, Option<f32>), String> {
    if number == Number::Byte {
        let image = as_image(as_row(bytes.to_vec(), row)?, order)?;
        return Ok((sum(image.view(), |v| [v]), None));
    }
    let values = finite(as_row(number.values(bytes), row)?, index)?;
    let other = other_than_byte(&values);
    let image = as_image(values, order)?;
    Ok((sum(image.view(), f32::to_le_bytes), other))
}

/// A row as it is stored, `[1, …]`.
fn as_row<T>(row: Vec<T>, shape: &[usize]) -> Result<ArrayD<T>, String> {
    let whole: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    ArrayD::from_shape_vec(IxDyn(&whole), row).map_err(|e| e.to_string())
}

/// A row as `[C, H, W]`.
fn as_image<T: Copy>(row: ArrayD<T>, order: Order) -> Result<Array3<T>, String> {
    Ok(order.images(row)?.index_axis_move(Axis(0), 0))
}
