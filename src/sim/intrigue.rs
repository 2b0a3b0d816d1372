//! What people do to each other's membership in a run: grants, removals, rotations, requests, often
//! two at once.

use super::changes::{Change, What};
use super::dice::Dice;
use super::stage::Stage;
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicName};
use crate::chain::{Chain, Role};
use crate::client::{GrantAs, Join};
use crate::wire::values::Retention;

/// Somebody changes a topic's membership, or asks to be let in, and others perhaps at the same time.
pub fn act(stage: &mut Stage, dice: &mut Dice, person: usize) {
    let there: Vec<TopicName> = stage.model.live_logs().map(|(_, log)| log.name.clone()).collect();
    if there.is_empty() {
        return;
    }
    let topic = dice.pick(&there).clone();
    let first = draw(stage, dice, &topic);
    // Mostly one who may; sometimes one who may not.
    let rulers = rulers(stage, &topic);
    let actor = if rulers.is_empty() || dice.percent(15) { person } else { *dice.pick(&rulers) };
    ask(stage, actor, first);
    // A race: another client does something to the same topic before the first has its answer.
    if dice.percent(50) && !rulers.is_empty() {
        let (other, second) = (*dice.pick(&rulers), draw(stage, dice, &topic));
        ask(stage, other, second);
    }
}

/// Somebody asks to be let into a topic that they are not in, or anybody into any.
pub fn join(stage: &mut Stage, dice: &mut Dice, person: usize) {
    let me = stage.cast.people()[person].fingerprint;
    let logs = stage.model.live_logs();
    let outside: Vec<TopicName> = logs
        .filter(|(_, log)| !log.ledger().is_member(me) || dice.percent(10))
        .map(|(_, log)| log.name.clone())
        .collect();
    if !outside.is_empty() {
        let topic = dice.pick(&outside).clone();
        ask(stage, person, Change { topic, what: What::Join });
    }
}

/// Somebody's client tells of requests from now on, and perhaps answers them.
pub fn watch(stage: &mut Stage, dice: &mut Dice, person: usize) {
    let answers = dice.percent(75);
    if let Some(player) = stage.players[person].as_mut().filter(|player| !player.is_over) {
        let who = &stage.cast.people()[person].name;
        stage.trace.note(stage.mono, format_args!("{who} watches who asks, answers {answers}"));
        player.watch(answers);
    }
}

/// The clients of those who may change a topic.
fn rulers(stage: &Stage, topic: &TopicName) -> Vec<usize> {
    let Some((_, log)) = stage.model.log_of(topic) else { return Vec::new() };
    let may = |who: Fingerprint| {
        let role = log.ledger().now().member(who).map(|member| member.role);
        matches!(role, Some(Role::Owner | Role::Admin))
    };
    let players = stage.players.iter().enumerate();
    players.filter(|(_, p)| p.as_ref().is_some_and(|p| may(p.me))).map(|(person, _)| person).collect()
}

fn draw(stage: &Stage, dice: &mut Dice, topic: &TopicName) -> Change {
    let chain = stage.model.log_of(topic).map(|(_, log)| log.ledger().now());
    let of = |inside: bool| -> Vec<Name> {
        let is_member = |who| chain.is_some_and(|chain: &Chain| chain.member(who).is_some());
        let people = stage.cast.people().iter();
        people.filter(|p| is_member(p.fingerprint) == inside).map(|p| p.name.clone()).collect()
    };
    let what = match dice.below(23) {
        0..8 => What::Grant(some(dice, &of(false), &of(true)), GrantAs::Member),
        8..11 => What::Grant(some(dice, &of(true), &of(false)), GrantAs::Admin),
        11..15 => What::Revoke(some(dice, &of(true), &of(false))),
        15..16 => What::Deny(some(dice, &of(false), &of(true)), dice.pick::<&str>(&["", "not now"])),
        16..18 => What::Rotate,
        18..19 => What::SetJoin(*dice.pick(&[Join::Ask, Join::Open, Join::Closed])),
        19..21 => What::Retain(retention(dice)),
        21..22 => What::Delete,
        _ => What::Requests,
    };
    Change { topic: topic.clone(), what }
}

/// How much a topic keeps.
pub fn retention(dice: &mut Dice) -> Retention {
    Retention {
        count: *dice.pick(&[1, 5, 20, 10_000, 0]),
        bytes: *dice.pick(&[2_000, 60_000, 64 * 1024 * 1024, 0]),
        age_ms: *dice.pick(&[0, 0, 0, 300, 60_000]),
    }
}

/// One name or two, mostly of `likely`.
fn some(dice: &mut Dice, likely: &[Name], others: &[Name]) -> Vec<Name> {
    let count = dice.between(1, 2);
    let mut names: Vec<Name> = Vec::new();
    for _ in 0..count {
        let from =
            if others.is_empty() || (dice.percent(90) && !likely.is_empty()) { likely } else { others };
        let name = dice.pick(from);
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn ask(stage: &mut Stage, person: usize, change: Change) {
    if let Some(player) = &mut stage.players[person] {
        if let What::Join = change.what {
            stage.model.asked_to_join.insert((change.topic.clone(), player.me));
        }
        let who = &stage.cast.people()[person].name;
        stage.trace.note(stage.mono, format_args!("{who} asks of {}: {:?}", change.topic, change.what));
        player.change(change);
    }
}
