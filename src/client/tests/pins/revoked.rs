//! A topic whose newest record was signed by somebody who was revoked since.

use super::{again, caught_up, faults, open, script};
use crate::base::ids::Offset;
use crate::client::pins::Pins;
use crate::client::tests::rig::Rig;
use crate::client::tests::subscribe::{me, subscribe};
use crate::client::tests::topic::{HANDLE, INCARNATION};
use crate::client::{Event, Failure, IntegrityFault, Notice};
use crate::crypto::cert::testing::{World, name, world};
use crate::crypto::cert::{Role, Serial};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::Start;

fn serials(world: &World, who: &str) -> Vec<Serial> {
    vec![*world.issue(who, who, Role::Client, &[]).serial()]
}

/// Has the broker offer this list, and hands it out.
fn revoke(rig: &mut Rig, who: &[Serial], number: u64) {
    let der = rig.world.crl(who, number);
    rig.say(&[BrokerFrame::CrlChanged { number }]);
    let asked = rig.heard().into_iter().find_map(|frame| match frame {
        ClientFrame::GetCrl { request, .. } => Some(request),
        _ => None,
    });
    let request = asked.expect("it is asked for");
    let total = der.len() as u32;
    rig.say(&[BrokerFrame::CrlPart { request, number, total, from: 0, part: der }]);
}

#[test]
fn a_revoked_signer_suspends_until_another_one_has_signed() {
    let world = world();
    let mut script = script(&world, &["bob"]);
    script.admit(&world, "carol", 2);
    script.promote(&world, "carol", 3);
    let mut rig = again(&Pins::default());
    open(&mut rig, &script);
    rig.events();
    let alice = serials(&world, "alice");
    revoke(&mut rig, &alice, 2);
    let fault = IntegrityFault::RevokedSigner { name: name("alice") };
    assert_eq!(faults(&mut rig), [(fault.clone(), true)]);

    let ticket = rig.client.publish(&script.name, b"x").expect("room");
    let refused = Failure::Integrity(script.name.clone(), fault.clone());
    assert_eq!(rig.answers(), [(ticket, Err(refused))]);
    let members = rig.client.members(&script.name);
    assert!(matches!(&rig.answers()[..], [(t, Ok(_))] if *t == members), "its records are open all the same");

    // Nobody else signs: a newer list changes nothing, and is not told of again.
    revoke(&mut rig, &alice, 3);
    assert_eq!(faults(&mut rig), []);

    script.signs_as(&world, "carol");
    script.rotate(4);
    rig.say(&[script.record(4, me(&rig))]);
    let is_told = |event: &Event| matches!(event, Event::Notice(Notice::SignerGood { .. }));
    assert!(rig.events().iter().any(is_told));
    rig.heard();
    rig.client.publish(&script.name, b"x").expect("room");
    assert!(rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Publish { .. })));
}

#[test]
fn what_was_passed_over_while_suspended_is_read_later() {
    let world = world();
    let mut script = script(&world, &["bob"]);
    script.admit(&world, "carol", 2);
    script.promote(&world, "carol", 3);
    let mut rig = again(&Pins::default());
    subscribe(&mut rig, &script, 4, 4);
    rig.say(&[BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(4) }]);
    rig.events();
    let alice = serials(&world, "alice");
    revoke(&mut rig, &alice, 2);
    rig.events();
    let (frame, body) = script.message(4, 0, b"meanwhile");
    rig.say_with(&[frame], &[&body]);
    assert!(rig.events().is_empty(), "it is not delivered");
    script.signs_as(&world, "carol");
    script.rotate(5);
    rig.say(&[script.record(4, me(&rig))]);
    assert!(rig.events().iter().any(|event| matches!(event, Event::Disconnected { fatal: false, .. })));
    rig.heard();
    rig.connect();
    let start = rig.heard().into_iter().find_map(|frame| match frame {
        ClientFrame::Open { start, .. } => Some(start),
        _ => None,
    });
    assert_eq!(start, Some(Start::Resume(Offset(4), INCARNATION)));
}

#[test]
fn a_signer_who_was_revoked_before_is_found_out_when_all_records_have_come() {
    let script = script(&world(), &["bob"]);
    let mut rig = again(&Pins::default());
    let alice = serials(&rig.world, "alice");
    revoke(&mut rig, &alice, 2);
    rig.events();
    let ticket = rig.client.publish(&script.name, b"x").expect("room");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 2)]);
    let records = script.all_records(me(&rig));
    rig.say(&records);
    assert!(rig.heard().is_empty(), "a record that mends it may follow");
    rig.say(&[caught_up(&script)]);
    let fault = IntegrityFault::RevokedSigner { name: name("alice") };
    let answer = rig.events().into_iter().find_map(|event| match event {
        Event::Answer { ticket: answered, result } if answered == ticket => Some(result),
        _ => None,
    });
    assert_eq!(answer, Some(Err(Failure::Integrity(script.name.clone(), fault))));
    assert!(rig.heard().is_empty());
}
