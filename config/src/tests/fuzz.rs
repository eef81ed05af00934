//! Arbitrary texts: no panic, and never a failure without a message.

use proptest::prelude::*;

use super::{NODES, parse};
use crate::{example::example, file::FILE_BYTES_MAX, keys};

/// Reads a text; an error has at least one message.
fn survives(text: &str) {
    if let Err(problems) = parse(text) {
        assert!(problems.iter().next().is_some(), "refused without a word: {text}");
    }
}

/// Lines that look like a configuration.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<&str> = keys::ROOT
        .all()
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| key.name))
        .chain(["node", "totem", "x"])
        .collect();
    let headers: Vec<String> = keys::ROOT.all().iter().map(|section| section.header()).collect();
    let values = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..2000_u32).prop_map(|number| number.to_string()),
        "\"[a-z0-9.:]{0,12}\"",
        "[\\[{\"'}\\],=.a-z0-9 -]{0,10}",
        Just("[{ nodeid = 1 }]".to_owned()),
    ];
    prop_oneof![
        3 => (proptest::sample::select(names), values).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => proptest::sample::select(headers),
        1 => "\\PC{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_without_a_panic(text in "(?s).{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_mixture_of_lines_is_read_without_a_panic(lines in proptest::collection::vec(line(), 0..30)) {
        survives(&lines.join("\n"));
        survives(&format!("{NODES}{}", lines.join("\n")));
    }

    #[test]
    fn a_damaged_example_is_read_without_a_panic(
        cut in any::<prop::sample::Index>(), len in 0_usize..40, with in "\\PC{0,3}",
    ) {
        let mut text = example();
        let start = (0..=cut.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (start..=(start + len).min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.replace_range(start..end.unwrap_or(start), &with);
        survives(&text);
    }
}

#[test]
fn a_large_file_of_nonsense_is_refused_in_bounded_work() {
    // Not a test on time: each of these took minutes with work that grows with the square of the size.
    let size = FILE_BYTES_MAX;
    for text in [
        "a=1\n".repeat(size / 4),
        "[[a]]\n".repeat(size / 6),
        "[".repeat(size),
        "=".repeat(size),
        "a.".repeat(size / 2),
        "x\n".repeat(size / 2),
        format!("{} = 1", "k".repeat(size)),
        format!("totem = {{ {} }}", "a=1,".repeat(size / 4)),
        (0..size / 12).map(|number| format!("k{number} = 1\n")).collect(),
        (0..size / 12).map(|number| format!("k{number} = , ")).collect(),
        "[[uidgid]]\nuid=0\n".repeat(size / 17),
        "[[nodelist.node]]\nnodeid=1\nring0_addr=\"x\"\n".repeat(size / 45),
    ] {
        survives(&text);
    }
}
