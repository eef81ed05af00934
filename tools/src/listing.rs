//! How `corosync-cpgtool` prints groups and their members.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
};

use ipc::message::cpg::{Address, GroupName};
use serde_json::{Value, json};

/// The addresses of each node that is listed.
pub(crate) type Addresses = BTreeMap<u32, Vec<IpAddr>>;

/// What is printed between the fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// A table for people.
    Table,
    /// A line for each member, with this character between the fields.
    Delimited(char),
    /// One JSON value.
    Json,
}

/// How group names are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Names {
    /// Octets outside printable ASCII as `\x` and two digits.
    Escaped,
    /// As they are.
    Raw,
}

/// Prints each member; the members of a group follow each other. Addresses have a place in the table
/// only.
pub(crate) fn members(
    out: &mut dyn Write,
    entries: &[(GroupName, Address)],
    addresses: Option<&Addresses>,
    style: Style,
    names: Names,
) -> io::Result<()> {
    match style {
        Style::Table => table(out, entries, addresses, names),
        Style::Delimited(delimiter) => {
            writeln!(out, "GRP_NAME{delimiter}PID{delimiter}NODEID")?;
            for (group, member) in entries {
                name(out, group, names)?;
                writeln!(out, "{delimiter}{}{delimiter}{}", member.pid, member.nodeid)?;
            }
            Ok(())
        }
        Style::Json => {
            let groups = entries.chunk_by(|(one, _), (other, _)| one == other).filter_map(|group| {
                let member =
                    |(_, member): &(GroupName, Address)| json!({"nodeid": member.nodeid, "pid": member.pid});
                let members: Vec<Value> = group.iter().map(member).collect();
                let mut value = json_group(&group.first()?.0);
                value["members"] = members.into();
                Some(value)
            });
            writeln!(out, "{}", Value::Array(groups.collect()))
        }
    }
}

/// Prints each group's name.
pub(crate) fn group_names(
    out: &mut dyn Write,
    groups: &[GroupName],
    style: Style,
    names: Names,
) -> io::Result<()> {
    if style == Style::Json {
        return writeln!(out, "{}", Value::Array(groups.iter().map(json_group).collect()));
    }
    for group in groups {
        name(out, group, names)?;
        match style {
            // Also behind the last one and without an end of the line, as corosync's tool does.
            Style::Delimited(delimiter) => write!(out, "{delimiter}")?,
            Style::Table | Style::Json => writeln!(out)?,
        }
    }
    Ok(())
}

/// A group's name above its members.
fn table(
    out: &mut dyn Write,
    entries: &[(GroupName, Address)],
    addresses: Option<&Addresses>,
    names: Names,
) -> io::Result<()> {
    writeln!(out, "Group Name\t{:>10}\t{:>10}", "PID", "Node ID")?;
    let mut current = None;
    for (group, member) in entries {
        if current != Some(group) {
            name(out, group, names)?;
            writeln!(out)?;
            current = Some(group);
        }
        write!(out, "\t\t{:>10}\t{:>10}", member.pid, member.nodeid)?;
        if let Some(addresses) = addresses {
            let node = addresses.get(&member.nodeid).map(Vec::as_slice).unwrap_or_default();
            let node: Vec<String> = node.iter().map(IpAddr::to_string).collect();
            write!(out, " ({})", node.join(" "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn name(out: &mut dyn Write, group: &GroupName, names: Names) -> io::Result<()> {
    if names == Names::Raw {
        return out.write_all(group.as_bytes());
    }
    for octet in group.as_bytes() {
        match octet {
            b' '..=b'~' => out.write_all(&[*octet])?,
            _ => write!(out, "\\x{octet:02X}")?,
        }
    }
    Ok(())
}

/// A name is any octets: as text for people, and in hexadecimal for programs.
fn json_group(group: &GroupName) -> Value {
    let octets = group.as_bytes();
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    json!({"group": String::from_utf8_lossy(octets), "group_hex": hex})
}

#[cfg(test)]
mod tests {
    use ipc::message::cpg::Reason;

    use super::*;

    fn group(name: &[u8]) -> GroupName {
        GroupName::new(name).expect("short")
    }

    fn entries() -> Vec<(GroupName, Address)> {
        let member = |nodeid, pid| Address { nodeid, pid, reason: Reason::Undefined };
        vec![
            (group(b"grp"), member(1, 9000)),
            (group(b"grp"), member(2, 77)),
            (group(b"a b\0\xff\\"), member(4_000_000_000, 4_000_000_000)),
        ]
    }

    fn printed(style: Style, names: Names) -> Vec<u8> {
        let mut out = Vec::new();
        members(&mut out, &entries(), None, style, names).expect("a vector takes everything");
        out
    }

    fn printed_names(style: Style) -> String {
        let mut out = Vec::new();
        let groups = [group(b"grp"), group(b"a b\0\xff\\")];
        group_names(&mut out, &groups, style, Names::Escaped).expect("a vector takes everything");
        String::from_utf8(out).expect("escaped")
    }

    #[test]
    fn the_table_has_a_group_s_name_above_its_members() {
        let wanted = "Group Name\t       PID\t   Node ID\ngrp\n\t\t      9000\t         1\n\t\t        77\t         2\n\
                      a b\\x00\\xFF\\\n\t\t4000000000\t4000000000\n";
        assert_eq!(String::from_utf8(printed(Style::Table, Names::Escaped)).as_deref(), Ok(wanted));
    }

    #[test]
    fn addresses_stand_in_parentheses_behind_the_node_and_may_be_missing() {
        let ip = |text: &str| text.parse().expect("an address");
        let addresses =
            Addresses::from([(1, vec![ip("10.0.0.1")]), (2, vec![ip("10.0.0.2"), ip("fd00::2")])]);
        let mut out = Vec::new();
        members(&mut out, &entries(), Some(&addresses), Style::Table, Names::Escaped).expect("as above");
        let wanted = "Group Name\t       PID\t   Node ID\ngrp\n\t\t      9000\t         1 (10.0.0.1)\n\
                      \t\t        77\t         2 (10.0.0.2 fd00::2)\na b\\x00\\xFF\\\n\
                      \t\t4000000000\t4000000000 ()\n";
        assert_eq!(String::from_utf8(out).as_deref(), Ok(wanted));
    }

    #[test]
    fn delimited_lines_are_complete_each() {
        let wanted: &[u8] = b"GRP_NAME,PID,NODEID\ngrp,9000,1\ngrp,77,2\na b\0\xff\\,4000000000,4000000000\n";
        assert_eq!(printed(Style::Delimited(','), Names::Raw), wanted);
    }

    #[test]
    fn names_alone_stand_one_a_line_or_before_a_delimiter() {
        assert_eq!(printed_names(Style::Table), "grp\na b\\x00\\xFF\\\n");
        assert_eq!(printed_names(Style::Delimited(';')), "grp;a b\\x00\\xFF\\;");
    }

    #[test]
    fn json_has_a_value_for_each_group() {
        let value: Value = serde_json::from_slice(&printed(Style::Json, Names::Raw)).expect("JSON");
        assert_eq!(value[0]["members"], json!([{"nodeid": 1, "pid": 9000}, {"nodeid": 2, "pid": 77}]));
        assert_eq!(value[1]["group_hex"], "61206200ff5c");
        assert_eq!(value.as_array().map(Vec::len), Some(2));
        let names: Value = serde_json::from_str(&printed_names(Style::Json)).expect("JSON");
        assert_eq!(names[0], json!({"group": "grp", "group_hex": "677270"}));
    }
}
