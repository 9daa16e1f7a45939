use super::*;
use clap::FromArgMatches as _;

/// The arguments that were typed, and then those of files.
fn found(arguments: &[&str]) -> Result<Vec<String>, String> {
    let line = ["onnx-bnnprune"].iter().chain(arguments);
    let matches = Cli::command().try_get_matches_from(line).unwrap();
    Cli::from_arg_matches(&matches).unwrap();
    let found = super::arguments(&matches).map_err(|e| e.to_string())?;
    Ok(found
        .into_iter()
        .map(|a| a.into_string().unwrap())
        .collect())
}

fn in_file(text: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    let option = format!("--config={}", path.display());
    let given: Vec<&str> = arguments.iter().copied().chain([option.as_str()]).collect();
    found(&given).map_err(|e| e.replace(&path.display().to_string(), "run.toml"))
}

const MODELS: [&str; 2] = ["in.onnx", "out.onnx"];

#[test]
fn lines_of_a_file_are_arguments() {
    let text = "ratio = 0.3\nmean = [0.5, -1]\nflip = true\nnormalise = false\nkeep = ['a', 'b']\n\
                max_drop = 'none'\nseed = 7\nscale = '1/255'\n[input-shape]\nimage = [1, 3, 8, 8]\n";
    let mut arguments = in_file(text, &MODELS).unwrap();
    arguments.sort();
    let mut expected = [
        "--ratio=0.3",
        "--mean=0.5,-1",
        "--flip",
        "--keep=a",
        "--keep=b",
        "--max-drop=none",
        "--seed=7",
        "--scale=1/255",
        "--input-shape=image=1,3,8,8",
    ];
    expected.sort();
    assert_eq!(arguments, expected);
}

#[test]
fn what_is_typed_wins_also_over_what_excludes_it() {
    let text = "ratio = 0.3\nseed = 7\n";
    let typed = |more: &[&str]| {
        let all: Vec<&str> = MODELS.iter().chain(more).copied().collect();
        in_file(text, &all).unwrap()
    };
    assert_eq!(typed(&["--seed=8"]), ["--ratio=0.3"]);
    assert_eq!(typed(&["--alpha=1"]), ["--seed=7"]);
    assert_eq!(typed(&["--masks=m.json"]), ["--seed=7"]);
}

#[test]
fn what_is_no_option_is_an_error_with_a_name_like_it() {
    let error = |text: &str| in_file(text, &MODELS).unwrap_err();
    assert_eq!(
        error("rato = 0.3"),
        "run.toml: there is no option 'rato'; did you mean 'ratio'?"
    );
    assert!(error("config = 'x'").contains("there is no option 'config'"));
    assert_eq!(error("flip = 1"), "run.toml: flip: expected true or false");
    assert_eq!(error("ratio = [1]"), "run.toml: ratio: takes one value");
    assert_eq!(
        error("ratio = true"),
        "run.toml: ratio: expected a number or a text"
    );
    assert!(
        error("a = 1\nb = ").starts_with("run.toml: line 2: "),
        "{}",
        error("b = ")
    );
}

#[test]
fn train_and_compare_take_files_of_their_own_options() {
    let train = ["train", "in.onnx", "out.onnx"];
    let mut found = in_file("epochs = 3\nlr = 0.01\nin_place = true\n", &train).unwrap();
    found.sort();
    assert_eq!(found, ["--epochs=3", "--in-place", "--lr=0.01"]);
    let compare = ["compare", "in.onnx", "--seeds=4"];
    let found = in_file("methods = ['random', 'taylor']\nseeds = 2\n", &compare).unwrap();
    assert_eq!(found, ["--methods=random,taylor"]);
    let why = in_file("ratio = 0.3\n", &train).unwrap_err();
    assert!(why.contains("there is no option 'ratio'"), "{why}");
}

#[test]
fn what_is_saved_reads_as_what_was_given() {
    let given = [
        "in.onnx",
        "out.onnx",
        "--ratio=0.3",
        "--mean=0.5,1",
        "--flip",
        "--keep=a",
        "--keep=7",
        "--scale=1/255",
        "--main-lr=1e-4",
        "--dim=n=3",
        "--save-config=out.toml",
        "--seed=7",
    ];
    let line = ["onnx-bnnprune"].iter().chain(&given);
    let matches = Cli::command().try_get_matches_from(line).unwrap();
    let (path, text) = to_save(&matches).unwrap();
    assert_eq!(path, Path::new("out.toml"));
    let mut again = in_file(&text, &MODELS).unwrap();
    again.sort();
    let options = given.iter().skip(2).filter(|o| !o.contains("save-config"));
    let mut expected: Vec<&str> = options.copied().collect();
    expected.sort_unstable();
    assert_eq!(again, expected);
}

fn preprocessor(json: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("preprocessor_config.json"), json).unwrap();
    let option = format!("--preprocessor={}", folder.path().display());
    let options = [option.as_str(), "--data=images"];
    let given: Vec<&str> = arguments.iter().copied().chain(options).collect();
    found(&given)
}

#[test]
fn a_preprocessors_configuration_becomes_options() {
    let vit = r#"{"do_normalize": true, "do_rescale": true, "do_resize": true,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"height": 32, "width": 48}}"#;
    let expected = [
        "--scale=0.00392156862745098",
        "--mean=0.5,0.4,0.3",
        "--std=0.2,0.2,0.1",
        "--resize=32x48",
    ];
    assert_eq!(preprocessor(vit, &MODELS).unwrap(), expected);
    // Of every command that reads images; and what is typed wins.
    let eval = preprocessor(vit, &["eval", "in.onnx", "--std=1,1,1"]).unwrap();
    assert_eq!(eval, [expected[0], expected[1], expected[3]]);
    let other = r#"{"do_rescale": false, "do_normalize": false, "image_mean": [1],
        "size": {"height": 9, "width": 9}, "do_center_crop": true, "crop_size": 8,
        "do_flip_channel_order": true}"#;
    assert_eq!(
        preprocessor(other, &MODELS).unwrap(),
        ["--scale=1", "--resize=9x9", "--crop=8", "--channels=bgr"]
    );
    // One number is both sides where nothing is cropped.
    assert_eq!(
        preprocessor(r#"{"size": 9}"#, &MODELS).unwrap(),
        ["--scale=1/255", "--resize=9"]
    );
    let uncropped = r#"{"size": 9, "crop_size": 8, "do_center_crop": false}"#;
    assert_eq!(
        preprocessor(uncropped, &MODELS).unwrap(),
        ["--scale=1/255", "--resize=9"]
    );
}

#[test]
fn what_no_option_does_is_said_unless_it_is_given() {
    let edge = r#"{"size": {"shortest_edge": 9}}"#;
    let error = preprocessor(edge, &MODELS).unwrap_err();
    assert!(
        error.contains("shortest edge") && error.contains("give --resize"),
        "{error}"
    );
    assert_eq!(
        preprocessor(edge, &["in.onnx", "out.onnx", "--resize=9"]).unwrap(),
        ["--scale=1/255"]
    );
    // What a single number was in older files.
    for older in [
        r#"{"size": 9, "do_center_crop": true, "crop_size": 8}"#,
        r#"{"size": 9, "crop_size": {"height": 8, "width": 8}}"#,
        r#"{"size": 9, "do_center_crop": true}"#,
    ] {
        let error = preprocessor(older, &MODELS).unwrap_err();
        assert!(error.contains("shortest edge"), "{older}: {error}");
        let typed = preprocessor(older, &["in.onnx", "out.onnx", "--resize=9"]).unwrap();
        assert_eq!(typed.first().map(String::as_str), Some("--scale=1/255"));
    }
    assert!(
        preprocessor("[]", &MODELS)
            .unwrap_err()
            .contains("is no preprocessor")
    );
    assert!(
        preprocessor("{", &MODELS)
            .unwrap_err()
            .contains("is not JSON")
    );
}

#[test]
fn a_preprocessor_without_images_is_named_itself() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("preprocessor_config.json"), "{}").unwrap();
    let option = format!("--preprocessor={}", folder.path().display());
    for command in [&["in.onnx", "out.onnx"][..], &["eval", "in.onnx"]] {
        let given: Vec<&str> = command.iter().copied().chain([option.as_str()]).collect();
        let error = found(&given).unwrap_err();
        assert!(error.starts_with("--preprocessor has no effect"), "{error}");
    }
    // Also images that a file names.
    let arguments = in_file("data = 'images'", &["in.onnx", "out.onnx", &option]);
    assert_eq!(arguments.unwrap(), ["--data=images", "--scale=1/255"]);
}

#[test]
fn names_and_values_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "dry-run = true\nreport = 'r.json'\nkeep = ['a']\n").unwrap();
    let mut names = config_names(&path).unwrap();
    names.sort();
    let expected = [
        ("dry_run", Some("true")),
        ("keep", None),
        ("report", Some("r.json")),
    ];
    assert_eq!(
        names,
        expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
    );
}

#[test]
fn an_option_of_a_file_is_left_out() {
    let text = "dry_run = true\nseed = 7\n";
    let with = |name: &str| in_file(text, &[MODELS[0], MODELS[1], "--unset", name]);
    assert_eq!(with("dry-run").unwrap(), ["--seed=7"]);
    assert_eq!(with("dry_run").unwrap(), ["--seed=7"]);
    let twice = ["--unset", "seed", "--unset=seed"];
    assert_eq!(
        in_file(text, &[&MODELS[..], &twice].concat()).unwrap(),
        ["--dry-run"]
    );
    let refused = with("dry-rum").unwrap_err();
    assert!(
        refused.contains("--unset dry-rum") && refused.contains("did you mean"),
        "{refused}"
    );
}

#[test]
fn other_spellings_are_known_in_files_too() {
    let found = in_file("normalize = true\noptimiser = 'sgd'\n", &MODELS);
    assert_eq!(found.unwrap(), ["--normalise", "--optimizer=sgd"]);
}
