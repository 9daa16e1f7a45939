//! What a person sees: a terminal of some width, a pipe, a log, Markdown.

use std::fs;
use std::path::Path;

use crate::common::{few_digits, fixture, network, quick, tool};

/// Words of a quick run whose table has long lines.
fn pruning(out: &Path) -> Vec<String> {
    let words = [
        network("vgg").display().to_string(),
        out.display().to_string(),
        format!("--data={}", few_digits().display()),
        format!("--val={}", fixture("digits_test.npz").display()),
        "--mask-epochs=1".into(),
        "--main-epochs=1".into(),
        "--final-epochs=1".into(),
        "--max-drop=none".into(),
    ];
    words.to_vec()
}

#[cfg(unix)]
mod in_a_terminal {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    use std::process::Command;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    /// What a terminal of that width is sent.
    fn shown(columns: u16, arguments: &[String], variables: &[(&str, &str)]) -> String {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 50,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = || File::options().read(true).write(true).open(&name).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(slave())
            .stdout(slave())
            .stderr(slave());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut terminal = File::from(master);
        let reader = std::thread::spawn(move || {
            let mut sent = Vec::new();
            let mut buffer = [0; 4096];
            // The end is an error on Linux.
            while let Ok(n @ 1..) = terminal.read(&mut buffer) {
                sent.extend_from_slice(&buffer[..n]);
            }
            String::from_utf8_lossy(&sent).into_owned()
        });
        child.wait().unwrap();
        reader.join().unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn nothing_is_wider_than_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for columns in [80, 120] {
            for arguments in [
                pruning(&dir.path().join("out.onnx")),
                words("inspect fixtures/digits_resnet.onnx"),
                words("check fixtures/digits_vgg.onnx fixtures/digits_folded.onnx"),
                words("eval fixtures/digits_vgg.onnx --data fixtures/digits_test.npz --runs 3"),
                words("verify fixtures/digits_vgg.onnx fixtures/digits_nin.onnx"),
                words(
                    "fixtures/digits_vgg.onnx a-folder-that-is-not-there/of-a-long-name/out.onnx",
                ),
                words("fixtures/digits_vgg.onnx out.onnx --keep conv --masks somewhere/masks.json"),
            ] {
                let sent = shown(columns, &arguments, &[]);
                let text = anstream::adapter::strip_str(&sent).to_string();
                assert!(text.len() > 60, "{arguments:?}: {text}");
                for line in text.split(['\n', '\r']) {
                    let width = textwrap::core::display_width(line);
                    // A path has no place to be broken at.
                    let path =
                        line.trim().contains(env!("CARGO_MANIFEST_DIR")) || line.contains("/tmp");
                    assert!(width <= columns.into() || path, "{arguments:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn colours_are_there_unless_they_are_not_wanted() {
        let inspect = words("inspect fixtures/digits_vgg.onnx");
        assert!(shown(80, &inspect, &[]).contains("\u{1b}["));
        assert!(!shown(80, &inspect, &[("NO_COLOR", "1")]).contains("\u{1b}["));
        let wrong = words("inspect not-there.onnx");
        let sent = shown(80, &wrong, &[]);
        assert!(
            sent.contains("\u{1b}[1m\u{1b}[31monnx-bnnprune:"),
            "{sent:?}"
        );
    }

    #[test]
    fn markdown_and_json_are_not_made_to_fit() {
        let plain = shown(
            80,
            &words("inspect fixtures/digits_resnet.onnx --markdown"),
            &[],
        );
        assert!(plain.lines().any(|l| l.len() > 100), "{plain}");
        assert!(!plain.contains("\u{1b}["));
    }
}

#[test]
fn a_pipe_gets_whole_lines_and_no_colour() {
    let done = tool()
        .args(["inspect", "fixtures/digits_resnet.onnx"])
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(!text.contains('\u{1b}'));
    for heading in ["binarizer", "0 →", "group", "as stored"] {
        assert!(text.contains(heading), "{text}");
    }
    assert!(text.contains("/block2/shortcut/shortcut.0/Conv"), "{text}");
}

#[test]
fn each_stage_leaves_a_line_and_verbose_each_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let said = |more: &[&str]| {
        let done = quick(&network("vgg"), &out).args(more).output().unwrap();
        assert!(done.status.success());
        let stdout = String::from_utf8(done.stdout).unwrap();
        (stdout, String::from_utf8(done.stderr).unwrap())
    };
    let (_, usual) = said(&[]);
    for stage in [
        "layer 1/3  /conv1/Conv  40 → ",
        "layer 2/3  /conv2/Conv",
        "layer 3/3  /conv3/Conv",
    ] {
        assert!(usual.contains(stage), "{usual}");
    }
    assert!(
        usual.contains("% masked") && usual.contains("% retrained"),
        "{usual}"
    );
    // A slow run may say so once in a while, and then in a line of another kind.
    assert!(
        !usual.lines().any(|l| l.starts_with("layer 1/3, ")),
        "{usual}"
    );
    let (stdout, verbose) = said(&["-v"]);
    assert!(
        verbose.matches("layer 1/3, mask: ").count() >= 2,
        "{verbose}"
    );
    assert!(
        verbose.contains("whole network, retraining: loss"),
        "{verbose}"
    );
    assert!(stdout.contains("/conv2/Conv"), "{stdout}");
    let (stdout, quiet) = said(&["-q"]);
    assert_eq!(quiet, "");
    assert!(stdout.contains("filters pruned"));
}

#[test]
fn a_log_holds_every_message_and_grows() {
    let dir = tempfile::tempdir().unwrap();
    let (out, log) = (dir.path().join("out.onnx"), dir.path().join("run.log"));
    let mut run = quick(&network("vgg"), &out);
    run.arg("-q").arg("--log-file").arg(&log).assert().success();
    let first = fs::read_to_string(&log).unwrap();
    assert!(first.starts_with("onnx-bnnprune log\n"), "{first}");
    for said in [
        "Z command: ",
        "--log-file",
        "Z begin: learning",
        "Z note: layer 1/3",
        "mask: ",
        "filters pruned",
        "Z exit code: 0",
    ] {
        assert!(first.contains(said), "{said}: {first}");
    }
    let mut wrong = tool();
    wrong.args(["inspect", "no.onnx"]).assert().code(2);
    let mut wrong = tool();
    let eval = ["eval", "no.onnx", "--data", "fixtures/digits_test.npz"];
    wrong
        .args(eval)
        .arg("--log-file")
        .arg(&log)
        .assert()
        .code(2);
    let second = fs::read_to_string(&log).unwrap();
    assert!(
        second.starts_with(&first) && second.contains("Z error: no.onnx"),
        "{second}"
    );
    assert!(second.ends_with("Z exit code: 2\n"), "{second}");
}

#[test]
fn a_log_takes_the_place_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("in.onnx");
    fs::copy(network("vgg"), &model).unwrap();
    let before = fs::read(&model).unwrap();
    let mut run = tool();
    run.arg(&model).arg(dir.path().join("out.onnx"));
    let done = run.arg("--log-file").arg(&model).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("is no log of this tool"), "{said}");
    assert_eq!(fs::read(&model).unwrap(), before);
}

#[test]
fn a_log_is_no_other_output() {
    let dir = tempfile::tempdir().unwrap();
    let same = dir.path().join("same.json");
    let mut run = tool();
    run.arg(network("vgg")).arg(dir.path().join("out.onnx"));
    run.arg("--log-file").arg(&same).arg("--report").arg(&same);
    crate::common::refused(&mut run, 2, &["is both the log and --report"]);
    assert!(!same.exists());
}

#[test]
fn markdown_is_a_table_that_can_be_pasted() {
    let mut run = tool();
    let compare = [
        "compare",
        "fixtures/digits_vgg.onnx",
        "--data=fixtures/digits_train.npz",
        "--methods=random",
        "--ratios=0.3",
        "--seeds=1",
        "--main-epochs=0",
        "--final-epochs=0",
        "--mask-epochs=0",
        "--markdown",
        "-q",
    ];
    let done = run.args(compare).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.starts_with("| method | filters gone |"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("| random | ")), "{text}");
    let mut both = tool();
    both.args([
        "inspect",
        "fixtures/digits_vgg.onnx",
        "--json",
        "--markdown",
    ]);
    crate::common::refused(&mut both, 2, &["--markdown has no effect here", "--json"]);
}

#[test]
fn words_of_other_tools_and_slips_bring_tips() {
    for (arguments, tip) in [
        (&["a.onnx", "b.onnx", "--epochs", "3"][..], "--final-epochs"),
        (&["a.onnx", "-o", "b.onnx"], "second argument"),
        (&["a.onnx", "b.onnx", "--sparsity=0.5"], "--ratio"),
        (&["a.onnx", "b.onnx", "--max-dorp", "2"], "--max-drop"),
        (&["inspec", "a.onnx"], "`onnx-bnnprune inspect`"),
        (&["inspec"], "`onnx-bnnprune inspect`"),
        (
            &["comapre", "a.onnx", "--data", "x"],
            "`onnx-bnnprune compare`",
        ),
    ] {
        let done = tool().args(arguments).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(tip), "{arguments:?}: {said}");
    }
}

#[test]
fn american_spelling_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let mut run = tool();
    run.arg(network("vgg")).arg(&out);
    let done = run.args(["--normalize", "--method=none"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("normalised"), "{text}");
}

#[test]
fn patterns_keep_layers() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("out.onnx"), dir.path().join("r.json"));
    let mut run = quick(&network("vgg"), &out);
    run.args(["--keep", "/conv[12]/*", "-q", "--report"])
        .arg(&report);
    run.assert().success();
    let report = crate::common::json(&report);
    for layer in report["layers"].as_array().unwrap() {
        let name = layer["name"].as_str().unwrap();
        let whole = layer["kept"] == layer["filters"];
        assert_eq!(whole, name != "/conv3/Conv", "{name}");
    }
    assert_eq!(
        report["settings"]["keep"],
        serde_json::json!(["/conv1/Conv", "/conv2/Conv"])
    );
    let mut run = tool();
    run.arg(network("vgg")).arg(&out).args(["--keep", "/cnov*"]);
    crate::common::refused(
        &mut run,
        2,
        &["--keep /cnov*", "no layer's name is like that"],
    );
}

#[test]
fn shells_and_man_learn_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let done = tool().args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        for word in ["compare", "max-drop", "log-file"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            // Each state that the script sets is one that it completes in.
            let set = text.split("cmd=\"").skip(1);
            let states: Vec<&str> = set.filter_map(|rest| rest.split('"').next()).collect();
            assert!(states.len() > 10, "{states:?}");
            for state in states.into_iter().filter(|state| !state.is_empty()) {
                assert!(text.contains(&format!("{state})")), "{state}");
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    tool().arg("man").arg(dir.path()).assert().success();
    for page in ["onnx-bnnprune.1", "onnx-bnnprune-compare.1"] {
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(
            text.contains(".TH onnx-bnnprune") && text.contains("data"),
            "{text}"
        );
    }
    assert!(!dir.path().join("onnx-bnnprune-worker.1").exists());
}

#[test]
fn help_says_the_defaults_that_there_are() {
    use onnx_bnnprune::subsidiary::Options;
    let done = tool().arg("--help").output().unwrap();
    let help = String::from_utf8(done.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (few, many) = (Options::for_images(1000), Options::for_images(50_000));
    for (option, default) in [
        ("--distill <S>", few.distill.to_string()),
        ("--mask-lr <R>", few.mask_lr.to_string()),
        ("--main-lr <R>", few.main_lr.to_string()),
        (
            "--batch-size <N>",
            format!(
                "{}, from 12,800 training images on {}",
                few.batch_size, many.batch_size
            ),
        ),
        ("--ratio <F>", Options::FIRST_RATIO.to_string()),
        ("--cache-disk-mb <MIB>", few.cache_disk_mb.to_string()),
        ("--max-share <F>", few.max_share.to_string()),
    ] {
        let behind = help
            .split_once(option)
            .unwrap_or_else(|| panic!("{option}"))
            .1;
        let said = behind.split_once("[default: ").unwrap().1;
        assert!(
            said.starts_with(&default),
            "{option}: {default} is not {:.40}",
            said
        );
    }
    assert_eq!(Options::for_images(12_799).batch_size, few.batch_size);
    assert_eq!(Options::for_images(12_800).batch_size, many.batch_size);
    assert!(help.contains(&format!("{} is a beginning", few.alpha)));
}
