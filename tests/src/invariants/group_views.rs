//! Group views: adding up what a member is told gives the true group. Whoever joins comes once and goes
//! once, for a reason that is true; views agree wherever a synchronisation ends; messages come from
//! members only (cpg_overview(3) and cpg_initialize(3), configuration changes; Moser et al. 1994,
//! section 3, for the agreement of views with the order).

use std::collections::{BTreeMap, BTreeSet};

use ipc::message::cpg::Reason;

use super::excerpt;
use crate::history::{ClientHistory, Fate, History, Process, RingName, What};

/// The views of each group at the end of each synchronisation, and whose.
type Agreed<'a> = BTreeMap<(RingName, &'a [u8]), (BTreeSet<Process>, &'a ClientHistory, usize)>;

/// Judges a run.
pub fn check(history: &History) -> Result<(), String> {
    let mut agreed = Agreed::new();
    for client in history.clients.values() {
        let view = fold(history, client, &mut agreed)?;
        if history.settled && client.fate == Fate::Alive {
            let truth = truth(history, client);
            if view.as_ref().is_some_and(|view| *view != truth) {
                let story = format!("the view is {:?}, the group {truth:?}", view.unwrap_or_default());
                return Err(story + &excerpt(client, client.seen.len()));
            }
        }
    }
    Ok(())
}

/// The living members of a client's group, as far as they are in its ring.
fn truth(history: &History, client: &ClientHistory) -> BTreeSet<Process> {
    let ring = client.seen.iter().rev().find_map(|seen| match &seen.what {
        What::Totem { members, .. } => Some(members),
        _ => None,
    });
    let near = |mate: &&ClientHistory| ring.is_none_or(|ring| ring.contains(&mate.process.node));
    let mates = history.clients.values().filter(|mate| mate.group == client.group).filter(near);
    let joined = mates.filter(|mate| mate.fate == Fate::Alive && has_joined(mate));
    joined.map(|mate| mate.process).collect()
}

fn has_joined(client: &ClientHistory) -> bool {
    client
        .seen
        .iter()
        .any(|seen| matches!(&seen.what, What::View { joined, .. } if names(joined, client.process)))
}

fn names(list: &[(Process, Reason)], process: Process) -> bool {
    list.iter().any(|(named, _)| *named == process)
}

/// The view that a client ends with; `None` while it is not in the group.
fn fold<'a>(
    history: &'a History,
    client: &'a ClientHistory,
    agreed: &mut Agreed<'a>,
) -> Result<Option<BTreeSet<Process>>, String> {
    let mut view: Option<BTreeSet<Process>> = None;
    let mut ring = None;
    let mut joiners = BTreeSet::new();
    for (index, seen) in client.seen.iter().enumerate() {
        let fail = |problem: String| Err(problem + &excerpt(client, index));
        match &seen.what {
            What::View { members, joined, left } => {
                if let Some(problem) = change(history, client, view.as_ref(), members, joined, left) {
                    return fail(problem);
                }
                let joins = joined.iter().filter(|(_, reason)| *reason == Reason::Join);
                for (process, _) in joins {
                    if !joiners.insert(*process) {
                        return fail(format!("{process} joins a second time"));
                    }
                }
                if names(left, client.process) {
                    return Ok(None);
                }
                view = Some(members.iter().copied().collect());
            }
            What::Delivered { from, .. } if view.as_ref().is_none_or(|view| !view.contains(from)) => {
                return fail(format!("{from} is not in the view"));
            }
            What::Totem { ring: next, members } => {
                let synchronised = ring.replace(*next).is_some_and(|before| before != *next);
                let Some(view) = view.as_ref().filter(|_| synchronised) else { continue };
                if let Some(ghost) = view.iter().find(|member| !members.contains(&member.node)) {
                    return fail(format!("{ghost} is in the view, but its node is not in ring {next}"));
                }
                let key = (*next, client.group.as_bytes());
                let (first, teller, there) = agreed.entry(key).or_insert((view.clone(), client, index));
                if first != view {
                    let story = format!("in ring {next} the view is {first:?} here and {view:?} there");
                    return fail(story + &excerpt(teller, *there));
                }
            }
            _ => {}
        }
    }
    Ok(view)
}

/// What is wrong with a change of the group.
fn change(
    history: &History,
    client: &ClientHistory,
    view: Option<&BTreeSet<Process>>,
    members: &[Process],
    joined: &[(Process, Reason)],
    left: &[(Process, Reason)],
) -> Option<String> {
    if !members.is_sorted_by(|a, b| a < b) {
        return Some("the members are not ascending".to_owned());
    }
    if let Some(view) = view {
        let mut expected = view.clone();
        if let Some((process, _)) = left.iter().find(|(process, _)| !expected.remove(process)) {
            return Some(format!("{process} goes without having been there"));
        }
        if let Some((process, _)) = joined.iter().find(|(process, _)| !expected.insert(*process)) {
            return Some(format!("{process} comes, but is there already"));
        }
        if !expected.iter().eq(members) {
            return Some(format!("the sum of all changes is {expected:?}"));
        }
    } else if !names(joined, client.process) || !members.contains(&client.process) {
        return Some("told of a group that it has not joined".to_owned());
    }
    let untrue = joined.iter().find(|(process, reason)| !may_come(history, client, *process, *reason));
    let untrue =
        untrue.or_else(|| left.iter().find(|(process, reason)| !may_go(history, client, *process, *reason)));
    untrue.map(|(process, reason)| format!("{reason:?} is not true of {process}"))
}

fn may_come(history: &History, client: &ClientHistory, process: Process, reason: Reason) -> bool {
    match reason {
        Reason::Join => history.client_of(process).is_some_and(|who| who.group == client.group),
        Reason::NodeUp => process.node != client.process.node,
        _ => false,
    }
}

fn may_go(history: &History, client: &ClientHistory, process: Process, reason: Reason) -> bool {
    let Some(who) = history.client_of(process) else { return false };
    match reason {
        Reason::Leave => who.seen.iter().any(|seen| seen.what == What::LeaveAsked),
        Reason::ProcDown => who.fate != Fate::Alive,
        Reason::NodeDown => process.node != client.process.node,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::Story;

    #[test]
    fn a_sum_that_is_wrong_is_noticed() {
        let mut story = Story::new(3);
        story.view(0, &[0, 1], &[(0, Reason::Join)], &[]);
        story.view(0, &[0, 1, 2], &[], &[]);
        assert!(check(&story.history).unwrap_err().contains("sum"));
    }

    #[test]
    fn coming_and_going_twice_are_noticed() {
        let mut story = Story::new(2);
        story.view(0, &[0, 1], &[(0, Reason::Join)], &[]);
        story.view(0, &[0, 1], &[(1, Reason::Join)], &[]);
        assert!(check(&story.history).unwrap_err().contains("already"));
        let mut story = Story::new(2);
        story.view(0, &[0], &[(0, Reason::Join)], &[]);
        story.view(0, &[0], &[], &[(1, Reason::NodeDown)]);
        assert!(check(&story.history).unwrap_err().contains("without"));
    }

    #[test]
    fn untrue_reasons_are_noticed() {
        for reason in [Reason::Leave, Reason::ProcDown, Reason::Undefined] {
            let mut story = Story::new(2);
            story.view(0, &[0, 1], &[(0, Reason::Join)], &[]);
            story.view(0, &[0], &[], &[(1, reason)]);
            assert!(check(&story.history).unwrap_err().contains("not true"));
        }
    }

    #[test]
    fn a_message_of_a_stranger_is_noticed() {
        let mut story = Story::new(2);
        story.view(0, &[0], &[(0, Reason::Join)], &[]);
        story.submits(1, 100);
        story.delivers(0, 1, 0);
        assert!(check(&story.history).unwrap_err().contains("not in the view"));
    }

    #[test]
    fn different_views_after_one_synchronisation_are_noticed() {
        let mut story = Story::new(2);
        story.ring_all(4, &[0, 1]);
        story.view(0, &[0], &[(0, Reason::Join)], &[]);
        story.view(1, &[0, 1], &[(1, Reason::Join)], &[]);
        story.ring_all(8, &[0, 1]);
        assert!(check(&story.history).unwrap_err().contains("there"));
    }

    #[test]
    fn a_ghost_is_noticed() {
        let mut story = Story::new(2);
        story.ring_all(4, &[0, 1]);
        story.view(0, &[0, 1], &[(0, Reason::Join)], &[]);
        story.ring(0, 8, &[0]);
        assert!(check(&story.history).unwrap_err().contains("its node is not"));
    }

    #[test]
    fn a_view_that_is_not_the_group_at_the_end_is_noticed() {
        let mut story = Story::new(2);
        story.view(0, &[0], &[(0, Reason::Join)], &[]);
        story.view(1, &[0, 1], &[(1, Reason::Join)], &[]);
        story.history.settled = true;
        assert!(check(&story.history).unwrap_err().contains("the group"));
    }
}
