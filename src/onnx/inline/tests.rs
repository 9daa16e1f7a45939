//! Calls of functions, and what becomes of their names.

use super::*;

fn call(op: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned()],
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

#[test]
fn many_calls_of_one_name_take_no_time() {
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        node: vec![NodeProto {
            name: Some("inner".to_owned()),
            op_type: Some("Neg".to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        }],
        ..FunctionProto::default()
    };
    let count = 50_000;
    let node = (0..count).map(|i| NodeProto {
        name: Some("same".to_owned()),
        ..call("F", &format!("y{i}"))
    });
    let mut model = ModelProto {
        functions: vec![function],
        graph: Some(GraphProto {
            node: node.collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    // Tried one after another, the names would take minutes.
    inline_functions(&mut model);
    let graph = model.graph.unwrap();
    assert_eq!(graph.node.len(), count);
    let names: HashSet<&str> = graph.node.iter().map(|n| n.name()).collect();
    assert_eq!(names.len(), count);
}

#[test]
fn functions_without_end_stay_and_are_named() {
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        // Each call makes two more.
        node: vec![call("F", "a"), call("F", "y")],
        ..FunctionProto::default()
    };
    let mut model = ModelProto {
        functions: vec![function],
        graph: Some(GraphProto {
            node: vec![call("F", "out")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    let found = inline_functions(&mut model);
    assert_eq!(found.hidden.len(), 1, "{found:?}");
    assert!(found.hidden[0].contains("'mine.F'"));
    assert_eq!(model.functions.len(), 1, "what still calls it finds it");
}

#[test]
fn parameters_handed_through_and_left_out_keep_their_meaning() {
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned(), "bias".to_owned()],
        output: vec!["x".to_owned(), "y".to_owned()],
        node: vec![NodeProto {
            op_type: Some("Clip".to_owned()),
            input: vec!["x".to_owned(), "bias".to_owned()],
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        }],
        ..FunctionProto::default()
    };
    let mut one = call("F", "same");
    one.output.push("clipped".to_owned());
    let mut model = ModelProto {
        functions: vec![function],
        graph: Some(GraphProto {
            node: vec![one],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    let found = inline_functions(&mut model);
    assert!(found.hidden.is_empty() && model.functions.is_empty());
    let nodes = model.graph.unwrap().node;
    assert_eq!(nodes[0].input, ["x", ""]);
    assert_eq!(nodes[0].output, ["clipped"]);
    assert_eq!(
        (nodes[1].op_type(), &nodes[1].output[0]),
        ("Identity", &"same".to_owned())
    );
    assert_eq!(nodes[1].input, ["x"]);
}

#[test]
fn an_input_that_is_handed_through_has_to_be_given() {
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned(), "bias".to_owned()],
        output: vec!["y".to_owned(), "bias".to_owned()],
        node: vec![NodeProto {
            op_type: Some("Neg".to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        }],
        ..FunctionProto::default()
    };
    let with = |inputs: &[&str], outputs: &[&str]| {
        let mut call = call("F", "");
        call.input = inputs.iter().map(|&i| i.to_owned()).collect();
        call.output = outputs.iter().map(|&o| o.to_owned()).collect();
        let mut model = ModelProto {
            functions: vec![function.clone()],
            graph: Some(GraphProto {
                node: vec![call],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let found = inline_functions(&mut model);
        (found, model.graph.unwrap().node)
    };
    // Nobody reads it: nothing is missing.
    let (found, nodes) = with(&["x"], &["a"]);
    assert!(found.hidden.is_empty() && nodes.len() == 1, "{found:?}");
    let (found, nodes) = with(&["x", "b"], &["a", "c"]);
    assert!(found.hidden.is_empty(), "{found:?}");
    assert_eq!(
        (nodes[1].op_type(), &nodes[1].input),
        ("Identity", &vec!["b".to_owned()])
    );
    for inputs in [&["x"][..], &["x", ""]] {
        let (found, nodes) = with(inputs, &["a", "c"]);
        assert!(found.hidden[0].contains("'bias'"), "{found:?}");
        assert_eq!(nodes[0].op_type(), "F");
    }
}

/// `If` with a branch that adds `reads` to 1 (a name of the branch's own).
fn branch(reads: &str) -> GraphProto {
    GraphProto {
        node: vec![NodeProto {
            op_type: Some("Add".to_owned()),
            input: vec![reads.to_owned(), "one".to_owned()],
            output: vec!["sum".to_owned()],
            ..NodeProto::default()
        }],
        initializer: vec![crate::onnx::proto::TensorProto {
            name: Some("one".to_owned()),
            ..Default::default()
        }],
        output: vec![crate::onnx::proto::ValueInfoProto {
            name: Some("sum".to_owned()),
            ..Default::default()
        }],
        ..GraphProto::default()
    }
}

#[test]
fn a_graph_that_is_given_as_an_attribute_reads_what_its_caller_has() {
    let graph_attribute = |name: &str, g: GraphProto| AttributeProto {
        name: Some(name.to_owned()),
        g: Some(g),
        ..AttributeProto::default()
    };
    let reference = |name: &str, of: &str| AttributeProto {
        name: Some(name.to_owned()),
        ref_attr_name: Some(of.to_owned()),
        ..AttributeProto::default()
    };
    // The function has a `t` of its own, and so has the caller.
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("mine".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        attribute: vec!["given".to_owned()],
        attribute_proto: vec![graph_attribute("default", branch("t"))],
        node: vec![
            NodeProto {
                op_type: Some("Neg".to_owned()),
                input: vec!["x".to_owned()],
                output: vec!["t".to_owned()],
                ..NodeProto::default()
            },
            NodeProto {
                op_type: Some("If".to_owned()),
                input: vec!["t".to_owned()],
                output: vec!["y".to_owned()],
                attribute: vec![
                    reference("then_branch", "given"),
                    reference("else_branch", "default"),
                ],
                ..NodeProto::default()
            },
        ],
        ..FunctionProto::default()
    };
    let mut outer = call("F", "out");
    outer.attribute.push(graph_attribute("given", branch("t")));
    let mut model = ModelProto {
        functions: vec![function],
        graph: Some(GraphProto {
            node: vec![outer],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    assert!(inline_functions(&mut model).hidden.is_empty());
    let nodes = model.graph.unwrap().node;
    let own = &nodes[0].output[0];
    assert_eq!(own, "out/t");
    let read = |name: &str| {
        let mut all = nodes[1].attribute.iter();
        let found = all.find(|a| a.name() == name).unwrap();
        found.g.as_ref().unwrap().node[0].input[0].clone()
    };
    assert_eq!(read("then_branch"), "t", "the caller's");
    assert_eq!(&read("else_branch"), own, "the function's");
}
