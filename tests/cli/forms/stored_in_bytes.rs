//! Files that look their weights up by bytes, written by others or in part.

use super::*;

/// How the weights of a layer are stored.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Floats,
    /// A byte each, which selects one of two, or of three values.
    Bytes(u8),
}

/// Convolutions of 32 filters on ±1 inputs, the k-th named `layerK`.
fn stack(stored: &[Stored]) -> ModelProto {
    let mut b = Builder::new(&[32, 4, 4]);
    let mut at = "x".to_owned();
    for (k, &how) in stored.iter().enumerate() {
        let seed = |i: usize| (i * i + i / 7 * (k + 3)) % 11;
        let weight = match how {
            Stored::Floats => {
                let signs = (0..1024).map(|i| if seed(i) < 5 { 1.0 } else { -1.0 });
                b.weight(&[32, 32, 1, 1], signs.collect())
            }
            Stored::Bytes(values) => {
                let of = (0..1024).map(|i| (seed(i) % usize::from(values)) as u8);
                let bytes = ArrayD::from_shape_vec(vec![1024], of.collect()).unwrap();
                let bytes = b.constant(&Tensor::U8(bytes));
                let table = [vec![-1.0, 1.0], vec![-1.0, 0.0, 1.0]];
                let table = table[usize::from(values) - 2].clone();
                let table = b.weight(&[table.len()], table);
                let indices = b.node("Cast", &[&bytes], vec![("to", Attr::Int(7))]);
                let flat = b.node("Gather", &[&table, &indices], vec![]);
                let shape = b.ints(&[32, 32, 1, 1]);
                b.node("Reshape", &[&flat, &shape], vec![])
            }
        };
        let signs = b.node("Sign", &[&at], vec![]);
        at = b.node("Conv", &[&signs, &weight], vec![]);
        b.graph.node.last_mut().unwrap().name = Some(format!("layer{k}"));
    }
    b.model(&[&at])
}

/// A file that came packed, of an opset that nothing is packed in: nobody asked for that.
#[test]
fn an_old_packed_file_is_pruned_and_written_as_floats() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut old = stack(&[Stored::Bytes(2); 2]);
    old.opset_import[0].version = Some(10);
    save(&old, &path("old.onnx")).unwrap();
    let main = || {
        let mut c = tool();
        c.args([path("old.onnx"), path("out.onnx")]);
        c
    };
    let mut same = main();
    same.args(["--method", "none", "-q"]).assert().success();
    let bytes = ["old.onnx", "out.onnx"].map(|name| std::fs::read(path(name)).unwrap());
    assert!(bytes[0] == bytes[1], "nothing changed");
    write_masks(&path("m.json"), &[("layer0", 32, &[1, 7, 30])]);
    let mut cut = main();
    cut.arg("--masks").arg(path("m.json"));
    let said = cut.assert().success().get_output().stdout.clone();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("came packed") && said.contains("opset 10"),
        "{said}"
    );
    assert_eq!(of_bytes(&path("out.onnx")), 0);
    assert_eq!(weights(&path("out.onnx"))["layer1"].shape(), [32, 29, 1, 1]);
}

/// One bit does not say three values: such weights stay in their table.
#[test]
fn a_table_of_three_values_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = stack(&[Stored::Floats, Stored::Floats, Stored::Bytes(3)]);
    save(&model, &path("t.onnx")).unwrap();
    write_masks(&path("m.json"), &[("layer0", 32, &[1, 7, 30])]);
    let mut cut = tool();
    cut.args([path("t.onnx"), path("out.onnx")]).arg("-q");
    cut.arg("--masks").arg(path("m.json")).assert().success();
    assert_eq!(of_bytes(&path("out.onnx")), 1);
    let [before, after] = ["t.onnx", "out.onnx"].map(|n| weights(&path(n)));
    assert_eq!(before["layer2"], after["layer2"]);
    let mut standard = tool();
    standard
        .arg("convert")
        .args([path("t.onnx"), path("out.onnx")]);
    standard.args(["--to", "onnx", "-q"]);
    refused(
        &mut standard,
        2,
        &["--to onnx", "no packed or computed weights"],
    );
    // What precedes it is packed, and the table stays.
    convert(&path("t.onnx"), &path("p.onnx"), "packed");
    assert_eq!(of_bytes(&path("p.onnx")), 3);
    convert(&path("p.onnx"), &path("back.onnx"), "onnx");
    assert_eq!(of_bytes(&path("back.onnx")), 1);
    assert_eq!(weights(&path("back.onnx")), before);
}

#[test]
fn a_file_that_is_packed_in_part_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = stack(&[Stored::Bytes(2), Stored::Floats]);
    save(&model, &path("half.onnx")).unwrap();
    convert(&path("half.onnx"), &path("whole.onnx"), "packed");
    assert_eq!(of_bytes(&path("whole.onnx")), 2);
    assert_eq!(weights(&path("half.onnx")), weights(&path("whole.onnx")));
    let mut again = tool();
    again
        .arg("convert")
        .args([path("whole.onnx"), path("o.onnx")]);
    again.args(["--to", "packed", "-q"]);
    refused(&mut again, 2, &["--to packed", "packed already"]);
}
