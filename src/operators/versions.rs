//! What ONNX asks of a node of each operator: `versions.tsv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::onnx::proto::attribute_proto::AttributeType;

/// The newest opset of the default domain that the table knows.
pub(crate) const NEWEST_OPSET: i64 = 28;

/// One version of an operator.
#[derive(Debug)]
pub(crate) struct Operator {
    /// The first opset with this version.
    pub since: i64,
    /// `None` where this version withdraws the operator.
    pub signature: Option<Signature>,
}

/// What a node of the operator has.
#[derive(Debug)]
pub(crate) struct Signature {
    /// How many inputs.
    pub inputs: Count,
    /// How many outputs.
    pub outputs: Count,
    /// The attributes that it may have.
    pub attributes: Vec<Attribute>,
}

/// A number of inputs or outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Not fewer.
    pub least: usize,
    /// Not more.
    pub most: usize,
}

/// An attribute of an operator.
#[derive(Debug)]
pub(crate) struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: AttributeType,
    /// Whether a node has to have it.
    pub required: bool,
}

/// The versions of each operator of the default domain, oldest first.
static TABLE: LazyLock<HashMap<&'static str, Vec<Operator>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<Operator>> = HashMap::new();
    for line in include_str!("versions.tsv").lines() {
        if let Some((name, operator)) = parse(line) {
            table.entry(name).or_default().push(operator);
        }
    }
    table
});

/// The operator `name` of the default domain as it is in `opset`; `None` if there is none.
pub(crate) fn lookup(name: &str, opset: i64) -> Option<&'static Operator> {
    let versions = TABLE.get(name)?;
    versions.iter().rev().find(|o| o.since <= opset)
}

/// Inputs that may be left out though others behind them may not (the table counts them all).
pub(crate) fn optional_inputs(name: &str) -> &'static [usize] {
    match name {
        "Loop" => &[0, 1],
        "Scan" => &[0],
        _ => &[],
    }
}

/// Outputs of the same kind.
pub(crate) fn optional_outputs(name: &str) -> &'static [usize] {
    match name {
        "GRU" | "LSTM" | "RNN" => &[0],
        _ => &[],
    }
}

/// The version of an operator of the default domain in an opset; `None` where there is none.
pub(crate) fn since(name: &str, opset: i64) -> Option<i64> {
    lookup(name, opset).map(|o| o.since)
}

/// The first opset that has the operator, if one has.
pub(crate) fn first_opset(name: &str) -> Option<i64> {
    TABLE.get(name)?.first().map(|o| o.since)
}

/// A line of the table; `None` for the comment at its top.
fn parse(line: &'static str) -> Option<(&'static str, Operator)> {
    let mut fields = line.split('\t');
    let name = fields.next()?;
    let since = fields.next()?.parse().ok()?;
    let signature = match (fields.next()?, fields.next()?) {
        ("-", _) => None,
        (inputs, outputs) => Some(Signature {
            inputs: count(inputs)?,
            outputs: count(outputs)?,
            attributes: fields
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .map(attribute)
                .collect::<Option<_>>()?,
        }),
    };
    Some((name, Operator { since, signature }))
}

fn count(text: &str) -> Option<Count> {
    let (least, most) = text.split_once("..")?;
    Some(Count {
        least: least.parse().ok()?,
        most: match most {
            "*" => usize::MAX,
            n => n.parse().ok()?,
        },
    })
}

fn attribute(text: &'static str) -> Option<Attribute> {
    let (name, kind) = text.split_once(':')?;
    let required = kind.ends_with('!');
    let kind = AttributeType::from_str_name(&kind.trim_end_matches('!').to_ascii_uppercase())?;
    Some(Attribute {
        name,
        kind,
        required,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("versions.tsv").lines();
        let bad: Vec<_> = lines.skip(1).filter(|l| parse(l).is_none()).collect();
        assert!(bad.is_empty(), "{bad:?}");
        let newest = TABLE.values().flatten().map(|o| o.since).max();
        assert!(newest.is_some_and(|n| n <= NEWEST_OPSET));
    }

    #[test]
    fn versions_follow_the_opset() {
        let clip = |opset| lookup("Clip", opset).unwrap().signature.as_ref().unwrap();
        assert_eq!(clip(6).inputs, Count { least: 1, most: 1 });
        assert_eq!(clip(10).attributes.len(), 2);
        assert_eq!(clip(17).inputs, Count { least: 1, most: 3 });
        assert!(clip(17).attributes.is_empty());
        assert!(lookup("Upsample", 17).unwrap().signature.is_none());
        assert!(lookup("Gelu", 17).is_none() && first_opset("Gelu") == Some(20));
        let concat = lookup("Concat", 17).unwrap().signature.as_ref().unwrap();
        assert!(concat.attributes[0].required);
        assert_eq!(concat.inputs.most, usize::MAX);
    }
}
