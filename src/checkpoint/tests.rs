use super::*;

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct State {
    name: String,
    values: ndarray::ArrayD<f32>,
    last: Option<f64>,
}

fn state(x: f32) -> State {
    let values = ndarray::Array2::from_shape_fn((3, 5), |(i, j)| x + (i * 5 + j) as f32);
    State {
        name: "a\nb".to_owned(),
        values: values.into_dyn(),
        last: Some(f64::MIN_POSITIVE),
    }
}

fn run(seed: &str) -> Identity {
    let pairs = [("--seed", seed), ("the model", "abc")];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn open(folder: &Path, seed: &str) -> Checkpoint {
    let every = Duration::from_secs(60);
    Checkpoint::new(Folder::open(folder).unwrap(), every, run(seed))
}

#[test]
fn what_is_saved_is_loaded_and_a_later_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/folder");
    let mut checkpoint = open(&folder, "1");
    assert_eq!(checkpoint.load::<State>().unwrap(), None);
    assert!(!exists(&folder));
    for x in [0.1, -0.0] {
        checkpoint.save(&state(x)).unwrap();
        let loaded: State = checkpoint.load().unwrap().unwrap();
        assert_eq!(loaded, state(x));
        let bits = |s: &State| s.values.mapv(f32::to_bits);
        assert_eq!(bits(&loaded), bits(&state(x)));
    }
    assert!(exists(&folder) && !folder.join(TEMPORARY).exists());
    remove(&folder).unwrap();
    remove(&folder).unwrap();
    assert!(!exists(&folder));
}

#[test]
fn a_folder_serves_one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Folder::open(dir.path()).unwrap();
    let second = Folder::open(dir.path()).unwrap_err();
    assert!(matches!(second, CheckpointError::Busy { .. }), "{second}");
    drop(first);
    Folder::open(dir.path()).unwrap();
}

#[test]
fn another_run_is_refused_with_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), "1").save(&state(0.0)).unwrap();
    let error = open(dir.path(), "2").load::<State>().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--seed 1 in the checkpoint, 2 now"), "{text}");
    assert!(!text.contains("abc"), "{text}");
    let mut other = run("1");
    other.insert("--alpha".to_owned(), "0.2".to_owned());
    let folder = Folder::open(dir.path()).unwrap();
    let more = Checkpoint::new(folder, Duration::ZERO, other);
    let text = more.load::<State>().unwrap_err().to_string();
    assert!(
        text.contains("--alpha not given in the checkpoint, 0.2 now"),
        "{text}"
    );
}

#[test]
fn no_changed_byte_and_no_cut_goes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = open(dir.path(), "1");
    checkpoint.save(&state(0.5)).unwrap();
    let good = std::fs::read(checkpoint.path()).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(checkpoint.path(), bytes).unwrap();
        let error = checkpoint.load::<State>().unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    };
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x10;
        refused(&bad);
    }
    for end in 0..good.len() {
        refused(&good[..end]);
    }
    std::fs::write(checkpoint.path(), &good).unwrap();
    assert_eq!(checkpoint.load::<State>().unwrap(), Some(state(0.5)));
}

#[test]
fn a_later_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = open(dir.path(), "1");
    let line = "{\"format\": \"onnx-bnnprune-checkpoint/99\", \"else\": []}\nwhatever";
    std::fs::write(checkpoint.path(), line).unwrap();
    let text = checkpoint.load::<State>().unwrap_err().to_string();
    assert!(text.contains("'onnx-bnnprune-checkpoint/99'"), "{text}");
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_checkpoint_before() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("broken"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = open(dir.path(), "1");
    checkpoint.save(&state(0.5)).unwrap();
    let error = checkpoint.save(&Broken).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
    assert!(!dir.path().join(TEMPORARY).exists());
    assert_eq!(checkpoint.load::<State>().unwrap(), Some(state(0.5)));
}
