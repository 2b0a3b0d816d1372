//! A broker that goes away and comes back.

use crate::support::Town;

#[test]
fn a_subscriber_comes_back_by_itself() {
    let mut town = Town::new();
    let sub = town.start("bob", "sub -t a --wait-for-topic");
    sub.says("waiting");
    town.kill_broker();
    sub.says("trying again");
    town.start_broker();
    sub.says("connected again");
    // The broker has no disk: its topics are gone with it.
    town.topic("a");
    town.good("alice", "pub -t a -m back");
    assert_eq!(sub.line(), "back");
}

#[test]
fn a_publisher_that_waits_for_input_comes_back() {
    let mut town = Town::new();
    town.topic("a");
    let mut publisher = town.start("alice", "pub -t a -l -v");
    publisher.type_in(b"before\n");
    assert_eq!(publisher.line(), "a 2");
    town.kill_broker();
    town.start_broker();
    town.topic("a");
    publisher.type_in(b"after\n");
    publisher.close_input();
    // Its owner made the topic anew: that is said, and the message is for the new one's members.
    assert_eq!(publisher.line(), "a 2");
    publisher.says("a is a new topic of the same owner");
    assert!(publisher.wait().success());
    assert_eq!(town.good("bob", "sub -t a -e"), "after\n");
}

#[test]
fn a_publisher_says_how_many_were_answered_when_the_broker_stays_away() {
    let mut town = Town::new();
    town.topic("a");
    let mut publisher = town.start("alice", "pub -t a -l -v -W 1");
    publisher.type_in(b"one\n");
    assert_eq!(publisher.line(), "a 2");
    town.kill_broker();
    publisher.type_in(b"two\n");
    publisher.close_input();
    publisher.says("1 of 2 messages sent were answered");
    assert_eq!(publisher.wait().code(), Some(3));
}
