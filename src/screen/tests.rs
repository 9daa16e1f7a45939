//! Screens at several widths.

use super::*;

fn screen() -> Screen {
    let mut table = Table::ruled([
        Column::text("layer").shrinks_to(12),
        Column::number("filters"),
        Column::number("binary operations").leaves(1),
        Column::number("bytes"),
    ]);
    for name in ["/features/layer1/layer1.0/conv1/Conv", "/x\u{1b}[31m"] {
        let cells = [name, "64 → 32", "1.25G → 600M", "73.7 KiB → 36.9 KiB"];
        table.row(cells.map(Text::from));
    }
    let mut screen = Screen::default();
    screen.table(table);
    let value = "passed: the models agree in ONNX Runtime 1.32.0 on 450 samples, and so on and on";
    screen.figure("verification", Text::of(Role::Good, value));
    screen.warning(
        "a long line about a layer | with a pipe, which goes on behind the eightieth column",
    );
    screen
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    for width in [60, 80, 120] {
        for colour in [false, true] {
            let text = screen().lay_out(&Layout {
                width: Some(width),
                colour,
            });
            for line in text.lines() {
                assert!(
                    textwrap::core::display_width(line) <= width,
                    "{width}: {line}"
                );
            }
            assert_eq!(text.contains("\u{1b}["), colour);
            assert!(text.contains(r"/x\u{1b}[31m"), "{text}");
        }
    }
}

#[test]
fn columns_leave_before_names_get_too_short() {
    let at = |width| {
        screen().lay_out(&Layout {
            width: Some(width),
            colour: false,
        })
    };
    assert!(at(120).contains("/features/layer1/layer1.0/conv1/Conv"));
    assert!(!at(120).contains("no room for"));
    let narrow = at(60);
    assert!(
        narrow.contains("no room for: binary operations"),
        "{narrow}"
    );
    assert!(
        narrow.contains("64 → 32") && narrow.contains('…'),
        "{narrow}"
    );
}

#[test]
fn colours_are_those_of_the_words() {
    let mut table = Table::plain([Column::text("a"), Column::number("b")]);
    let cell = Text::from("2 → ").and(Role::Good, "2");
    table.row(["2".into(), cell]);
    let mut screen = Screen::default();
    screen.table(table);
    let text = screen.lay_out(&Layout {
        width: None,
        colour: true,
    });
    let row = text.lines().nth(1).unwrap();
    assert!(row.contains("2 → \u{1b}[32m2\u{1b}[0m"), "{row:?}");
    assert!(row.trim_start().starts_with('2'), "{row:?}");
}

#[test]
fn without_a_terminal_lines_are_whole() {
    let text = screen().to_string();
    assert!(text.lines().any(|line| line.ends_with("and so on and on")));
    assert!(text.lines().any(|line| line.ends_with("eightieth column")));
    assert!(text.contains("layer1.0/conv1/Conv") && !text.contains("no room for"));
}

#[test]
fn markdown_holds_all_columns_and_no_markup_of_strangers() {
    let text = screen().markdown();
    assert!(
        text.contains("| layer | filters | binary operations | bytes |\n| --- | ---: |"),
        "{text}"
    );
    assert!(text.contains("a layer \\| with a pipe"), "{text}");
    assert!(text.contains("- verification: passed\\: the"), "{text}");
}

#[test]
fn names_keep_both_ends() {
    assert_eq!(shortened("/4/Conv", 10), "/4/Conv");
    let cut = shortened("/features/layer1/layer1.0/conv1/Conv", 15);
    assert_eq!(cut.chars().count(), 15);
    assert!(
        cut.starts_with("/featur") && cut.ends_with("v1/Conv"),
        "{cut}"
    );
}

#[test]
fn wide_characters_take_two_columns() {
    let cut = shortened("/卷积/卷积/卷积/卷积/Conv", 13);
    assert!(textwrap::core::display_width(&cut) <= 13, "{cut}");
    assert!(cut.starts_with("/卷积") && cut.ends_with("/Conv"), "{cut}");
    let mut table = Table::ruled([Column::text("layer").shrinks_to(10), Column::number("n")]);
    table.row(["卷积".repeat(40).as_str().into(), "7".into()]);
    let mut screen = Screen::default();
    screen.table(table);
    let text = screen.lay_out(&Layout {
        width: Some(50),
        colour: false,
    });
    for line in text.lines() {
        assert!(textwrap::core::display_width(line) <= 50, "{line}");
    }
}

#[test]
fn addresses_are_no_links_in_markdown() {
    let mut screen = Screen::default();
    screen.line("https://a.example and www.b.example cost $5$");
    let text = screen.markdown();
    assert!(
        text.contains(r"https\://") && text.contains(r"www\.") && text.contains(r"\$5\$"),
        "{text}"
    );
}
