use std::sync::Mutex;

use ndarray::Axis;

use super::*;
use crate::progress::Observer;
use crate::subsidiary::Options;

/// `[N, 2, 3]`: packed two bytes an image, else 24.
fn images(values: &[f32]) -> Value {
    let shape = IxDyn(&[values.len() / 6, 2, 3]);
    let x = ArrayD::from_shape_vec(shape, values.to_vec()).unwrap();
    x.into()
}

/// Image i of it is the number i in ternary, with one value that is `other`.
fn numbered(range: std::ops::Range<usize>, other: f32) -> Value {
    let digits = |i: usize| [1, 3, 9, 27, 81].map(|d| (i / d % 3) as f32 - 1.0);
    let image = |i| [&digits(i)[..], &[other]].concat();
    images(&range.flat_map(image).collect::<Vec<_>>())
}

fn filled(batches: &[Vec<Value>], budget: &mut Budget) -> Result<PrefixCache, NotKept> {
    let count = batches.iter().map(|b| b[0].shape()[0]).sum();
    let mut cache = PrefixCache::new(count);
    for batch in batches {
        cache.push(Packed::of(batch), budget)?;
    }
    Ok(cache)
}

fn uses(memory_bytes: u64, disk_bytes: u64) -> CacheUse {
    CacheUse {
        memory_bytes,
        disk_bytes,
    }
}

/// What an observer was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(format!("note: {text}"));
    }
    fn warn(&self, text: &str) {
        self.0.lock().unwrap().push(format!("warning: {text}"));
    }
}

#[test]
fn gives_back_what_was_pushed_from_memory_and_disk() {
    let batches = [
        vec![numbered(0..40, 1.0)],
        vec![numbered(40..80, -0.0)],
        vec![numbered(80..100, 0.25)],
    ];
    let expected = [38, 79, 40, 99, 0, 0].map(|i| {
        let other = [1.0, -0.0, 0.25][i / 40];
        let image = numbered(i..i + 1, other);
        image.float().iter().copied().collect::<Vec<_>>()
    });
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    // Packed 80 bytes, packed 80 bytes, floats of 480 bytes.
    for (memory, memory_bytes, disk_bytes) in [
        (640, 640, 0),
        (639, 160, 480),
        (80, 80, 560),
        (79, 0, 640),
        (0, 0, 640),
    ] {
        let mut budget = Budget::new(memory, disk_bytes, None);
        let cache = filled(&batches, &mut budget).unwrap();
        assert_eq!(cache.uses(), uses(memory_bytes, disk_bytes));
        let batch = cache.batch(&[38, 79, 40, 99, 0, 0]).unwrap().remove(0);
        assert_eq!(batch.shape(), [6, 2, 3]);
        assert_eq!(
            bits(batch.float().iter().copied().collect()),
            bits(expected.concat())
        );
        assert_eq!(cache.batch(&[]).unwrap()[0].shape(), [0, 2, 3]);
    }
}

#[test]
fn tensors_at_a_cut_are_kept_each_in_its_own_way() {
    let floats = ArrayD::from_shape_fn(IxDyn(&[10, 5]), |i| i[0] as f32 / 4.0 + i[1] as f32);
    // Not in row-major order.
    let turned: Value = floats
        .view()
        .reversed_axes()
        .to_owned()
        .reversed_axes()
        .into();
    let ternary = numbered(0..10, 0.0);
    let x = ternary.float();
    // Six channels, two bytes.
    let codes = Codes::pack(x.as_slice().unwrap(), [10, 6, 1, 1]).unwrap();
    let codes = Value::of_codes(codes, vec![10, 6]);
    for memory in [0, 1 << 20] {
        let mut budget = Budget::new(memory, 1 << 20, None);
        let batch = vec![ternary.clone(), turned.clone(), codes.clone()];
        let cache = filled(&[batch], &mut budget).unwrap();
        let all = cache.uses();
        assert_eq!(all.memory_bytes + all.disk_bytes, 10 * (2 + 20 + 2));
        let found = cache.batch(&[7, 3]).unwrap();
        assert_eq!(*found[0].float(), x.select(Axis(0), &[7, 3]));
        assert_eq!(*found[1].float(), floats.select(Axis(0), &[7, 3]));
        assert!(found[2].codes().is_some() && found[2].shape() == [2, 6]);
        assert!(found[2].float().iter().eq(found[0].float().iter()));
    }
}

#[test]
fn what_does_not_fit_is_declined_as_soon_as_that_is_known() {
    let mut cache = PrefixCache::new(1_000);
    let first = [numbered(0..10, 1.0)];
    let declined = cache.push(Packed::of(&first), &mut Budget::new(1_000, 999, None));
    assert!(matches!(declined, Err(NotKept::TooLarge(2_000))));
    assert_eq!(cache.uses(), CacheUse::default());
    // Ternary at first, as the others are not.
    let batches = [vec![numbered(0..10, 1.0)], vec![numbered(10..20, 0.5)]];
    let declined = filled(&batches, &mut Budget::new(20, 239, None));
    assert!(matches!(declined, Err(NotKept::TooLarge(480))));
    let kept = filled(&batches, &mut Budget::new(20, 240, None)).unwrap();
    assert_eq!(kept.uses(), uses(20, 240));
}

#[test]
fn a_folder_that_cannot_be_used_is_said_once_and_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        cache_mb: 0,
        cache_dir: Some(dir.path().join("none")),
        ..Options::for_images(10)
    };
    let (caching, told) = (Caching::default(), Told::default());
    let batches = [vec![numbered(0..10, 1.0)]];
    for _ in 0..2 {
        let declined = filled(&batches, &mut caching.budget(&options)).unwrap_err();
        caching.declined(&declined, &options, &told);
    }
    let told = told.0.into_inner().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("warning: ") && told[0].contains("none"),
        "{told:?}"
    );
    assert!(told[0].ends_with("; they are computed again"), "{told:?}");
}

#[test]
fn too_little_room_is_said_once_unless_it_was_asked_for() {
    for (disk, expected) in [(1, 1), (0, 0)] {
        let options = Options {
            cache_mb: 0,
            cache_disk_mb: disk,
            ..Options::for_images(10)
        };
        let (caching, told) = (Caching::default(), Told::default());
        for _ in 0..2 {
            let mut cache = PrefixCache::new(1 << 20);
            let declined = cache.push(
                Packed::of(&[numbered(0..10, 1.0)]),
                &mut caching.budget(&options),
            );
            caching.declined(&declined.unwrap_err(), &options, &told);
        }
        assert_eq!(told.0.into_inner().unwrap().len(), expected);
    }
}

#[test]
fn the_most_that_was_used_is_counted() {
    let caching = Caching::default();
    caching.count([uses(1, 5), uses(2, 0)].into_iter());
    caching.count([uses(2, 7)].into_iter());
    assert_eq!(caching.most(), uses(3, 7));
}
