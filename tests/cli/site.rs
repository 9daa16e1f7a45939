//! The pages in `docs/`: their commands run, and print what stands there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::tool;

/// Commands whose help is the reference; the main job first.
const COMMANDS: [&str; 10] = [
    "",
    "inspect",
    "eval",
    "verify",
    "check",
    "convert",
    "train",
    "compare",
    "completions",
    "man",
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Every page of the site, and the README.
fn pages() -> Vec<PathBuf> {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let links = summary.split("](").skip(1);
    let named = links.map(|rest| docs().join(rest.split(')').next().unwrap()));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    named.chain([readme]).collect()
}

/// Lines of code in blocks of these kinds.
fn code(page: &Path, kinds: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut lines = Vec::new();
    let mut kind = None;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if kind.is_some() => kind = None,
            Some(of) => kind = Some(of.trim()),
            None if kind.is_some_and(|of| kinds.contains(&of)) => {
                lines.push(line.trim().to_owned())
            }
            None => (),
        }
    }
    lines
}

#[test]
fn commands_on_the_pages_print_what_the_pages_say() {
    // In a folder of their own, since they write files.
    let dir = tempfile::tempdir().unwrap();
    let cases = trycmd::TestCases::new();
    let mut found = 0;
    for (place, page) in pages().iter().enumerate() {
        let commands = code(page, &["console"]);
        if commands.is_empty() {
            continue;
        }
        found += commands.iter().filter(|l| l.starts_with("$ ")).count();
        let copy = dir.path().join(format!("{place}.md"));
        fs::write(&copy, for_trycmd(&fs::read_to_string(page).unwrap())).unwrap();
        let folder = dir.path().join(format!("{place}.in"));
        fs::create_dir(&folder).unwrap();
        link(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"),
            &folder.join("fixtures"),
        );
        cases.case(copy);
    }
    assert!(found >= 6, "{found} commands");
    cases.timeout(std::time::Duration::from_secs(300));
    cases.run();
}

/// A page whose outputs end in an empty line: trycmd takes an output's last line end for the block's.
fn for_trycmd(page: &str) -> String {
    let mut text = String::new();
    let (mut inside, mut output) = (false, false);
    for line in page.lines() {
        let command = inside && line.starts_with("$ ");
        if output && (command || line.starts_with("```")) {
            text.push('\n');
        }
        match line.starts_with("```") {
            true => (inside, output) = (line == "```console", false),
            false => output = inside && (!command),
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) {
    std::os::unix::fs::symlink(from, to).unwrap();
}

#[cfg(windows)]
fn link(from: &Path, to: &Path) {
    std::os::windows::fs::symlink_dir(from, to).unwrap();
}

/// Commands with files of the reader's: their options are such that there are.
#[test]
fn no_page_shows_an_option_that_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for page in pages() {
        for line in code(&page, &["", "sh", "bash", "text"]) {
            let Some(arguments) = line.strip_prefix("onnx-bnnprune ") else {
                continue;
            };
            let arguments = arguments.split(['#', '>', '|']).next().unwrap();
            // What stands for something, in a list of commands.
            if arguments.contains("[") || arguments.contains("  ") || arguments.ends_with('\\') {
                continue;
            }
            let mut run = tool();
            run.current_dir(dir.path())
                .args(arguments.split_whitespace());
            let done = run.output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            for wrong in [
                "unexpected argument",
                "has no effect",
                "invalid value",
                "is no command",
            ] {
                assert!(!said.contains(wrong), "{}: {line}: {said}", page.display());
            }
            tried += 1;
        }
    }
    assert!(tried >= 8, "{tried} commands");
}

#[test]
fn every_option_is_in_the_reference() {
    let mut text = String::from(
        "# Every option\n\nWhat `--help` says, command by command. `onnx-bnnprune man FOLDER` writes it as manual pages.\n",
    );
    for command in COMMANDS {
        let title = match command {
            "" => "The main job",
            command => command,
        };
        let mut run = tool();
        run.args([command, "--help"].iter().filter(|a| !a.is_empty()));
        let done = run.output().unwrap();
        let help = String::from_utf8(done.stdout).unwrap();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        text += &format!(
            "\n## {title}\n\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        );
    }
    let page = docs().join("options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, &text).unwrap();
    }
    let there = fs::read_to_string(&page).unwrap();
    assert!(
        there == text,
        "docs/options.md is not what --help says; write it anew: UPDATE_DOCS=1 cargo test --test cli every_option"
    );
}

#[test]
fn every_page_of_docs_is_on_the_site() {
    let listed = pages();
    let mut folders = vec![docs()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") && !path.ends_with("SUMMARY.md") {
                assert!(
                    listed.contains(&path),
                    "{} is not in SUMMARY.md",
                    path.display()
                );
            }
        }
    }
    for page in listed {
        assert!(page.is_file(), "{}", page.display());
    }
}
