//! The examples below each verb's help.

pub const SEALMQ: &str = "\
Examples:
  sealmq ca init                                   make a CA, then: sealmq ca issue NAME
  sealmq create home/kitchen                       make a topic for all known clients
  sealmq pub -t home/kitchen -m 21.5               publish to it
  sealmq sub -t 'home/#' -v                        print what was and will be published
  sealmq shell                                     do all of it by hand

Exit codes: 0 done, 1 other, 2 usage, 3 broker unreachable, 4 certificate or authentication refused,
5 denied on the topic, 6 asked to join and not answered yet, 7 integrity: forged, or another key, owner or
state than before, 27 timed out.";

pub const CREATE: &str = "\
Examples:
  sealmq create home/kitchen                       for all clients that the broker knows
  sealmq create home/door --to alice,bob           for these two, and you
  sealmq create notes --only-me                    for nobody else
  sealmq create news --policy open                 your client, or a steward, lets in who asks
  sealmq create diary --only-me --recovery safe.crt    a key in a safe can read it, too
  sealmq create ci/builds --history since-join --retain-age 7d --retain-bytes 1GiB";

pub const PUB: &str = "\
Examples:
  sealmq pub -t home/kitchen -m 21.5               one message
  sealmq pub -t ci/log -f build.log                a file as one message
  journalctl -f | sealmq pub -t host/journal -l    a message a line, as they come
  date | sealmq pub -t now -s -v                   all of the input; prints the offset it got
  sensor | sealmq pub -t home/kitchen -l --spool ~/.spool   kept on this disk until it is answered
  sealmq pub -t home/kitchen --spool ~/.spool --flush       send what waits there

It exits with 0 only when the broker has answered every message; else it says how many. With --spool, code 3 means
that the broker is away and the rest waits in DIR: sealed to your own key, and sent by the next `pub` to the
topic with that DIR. A message that was sent more than a day ago and not answered may be there already: the
broker remembers no longer. It is sent again, and that is said; --strict stops instead.";

pub const SUB: &str = "\
Examples:
  sealmq sub -t home/kitchen                       all past messages, then new ones
  sealmq sub -t 'home/+/temperature' -v --from since=2h -e
  sealmq sub home/door --wait                      ask to join, and wait until you are let in
  sealmq sub -t 'ci/#' -J --resume archive >> ci.jsonl    goes on where it stopped, each time
  sealmq sub -t 'home/#' -F '%I %s %t: %p'         time, sender, topic and payload
  sealmq sub -t 'home/#' -J | jq .payload          one JSON object a line";

pub const EXPORT: &str = "\
Examples:
  sealmq export home/kitchen -o kitchen.jsonl      all that is kept, into a file of your own
  sealmq export home/kitchen --from since=7d --until 2026-11-23T08:00:00Z
  sealmq export home/kitchen | jq 'select(.verified)'

Lines are those of `sub -J`; what did not verify has \"event\":\"integrity\" and no content, and then the exit code is
7. The last line has \"event\":\"end\": an export without it was cut short. It is not encrypted any more.";

pub const TOPICS: &str = "\
Examples:
  sealmq topics                                    the topics you can read, and what waits for you
  sealmq topics -v                                 with size, oldest message, durability and retention
  sealmq topics -J | jq .bytes                     one JSON object a line, with bare numbers
  sealmq topics --all 'home/#'                     also those you are no member of";

pub const MEMBERS: &str = "\
Examples:
  sealmq members home/kitchen                      name, role and fingerprint of each
  sealmq members home/kitchen --as alice -h broker.lan";

pub const REQUESTS: &str = "\
Examples:
  sealmq requests                                  who asks to join topics that you may change
  sealmq requests home/door
  sealmq requests 'home/#' -J | jq .name";

pub const GRANT: &str = "\
Examples:
  sealmq grant home/door carol                     carol reads and publishes from now on
  sealmq grant home/door carol dave --trust-new    also if their keys are new to this computer
  sealmq grant home/door bob --admin               bob may let others in, and remove them";

pub const DENY: &str = "\
Examples:
  sealmq deny home/door carol
  sealmq deny home/door carol --because 'ask the landlord'

Who was denied is let in only by `grant`, never by policy open.";

pub const REVOKE: &str = "\
Examples:
  sealmq revoke home/door bob                      bob reads nothing that comes from now on
  sealmq revoke --everywhere bob                   in all topics that you may change

What was published before, bob could read, and still can. A key that was stolen is also revoked
at the CA: sealmq ca revoke.";

pub const ROTATE: &str = "\
Examples:
  sealmq rotate home/door                          when a member's computer may have leaked its key";

pub const POLICY: &str = "\
Examples:
  sealmq policy home/door ask                      you are asked, and decide with grant or deny
  sealmq policy home/door open                     your clients let in who asks; so does a steward
  sealmq policy home/door closed                   nobody may ask; you can still grant";

pub const RETENTION: &str = "\
Examples:
  sealmq retention home/door                       how much is kept
  sealmq retention home/door --retain-age 7d       what is not said stays as it is";

pub const DELETE: &str = "\
Examples:
  sealmq delete home/door                          asks for the name again
  sealmq delete home/door --yes                    does not, for scripts";

pub const FORGET: &str = "\
Examples:
  sealmq forget home/door                          the next time counts as the first

Whoever forgets a topic takes its owner on the broker's word once more; `sub --owner NAME` insists.";

pub const RESUME: &str = "\
Examples:
  sealmq resume                                    all names, their topics, and the next offset of each
  sealmq resume archive
  sealmq resume archive --forget                   the next time begins where --from says

A place is noted behind each message. Killed, `sub --resume` prints at most one message again, and leaves none
out. After a power cut it prints again what came in the last second or two.";

pub const STEWARD: &str = "\
Examples:
  sealmq steward --as alice -h broker.lan          prints a line for each whom it lets in
  sealmq steward -W 60                             at start-up, when the broker may come later";

pub const PING: &str = "\
Examples:
  sealmq ping                                      exit code 0: the broker is up and knows you
  sealmq ping -c 5 -h broker.lan
  sealmq ping -W 30 && start-sensors               wait up to half a minute for the broker";

pub const FINGERPRINT: &str = "\
Examples:
  sealmq fingerprint                               your own: read it to others over the phone
  sealmq fingerprint alice bob                     of certs/alice.crt and certs/bob.crt
  sealmq fingerprint /media/usb/carol.crt          of a certificate file";

pub const TRUST: &str = "\
Examples:
  sealmq trust list                                names, their keys, and since when
  sealmq trust list -v                             topics, their owners and newest records, too
  sealmq trust show bob                            all of the fingerprint
  sealmq trust replace bob --fingerprint 7d6f2ce0c2b1b3e4a5968778695a4b3c2d1e0f00112233445566778899aabbcc
  sealmq trust forget home/kitchen                 of a topic, so that another of the name is taken";

pub const BENCH: &str = "\
Examples:
  sealmq bench                                     one publisher, one subscriber, 20000 messages of 128 bytes
  sealmq bench --pubs 4 --subs 10 --size 1KiB --topics 4 --duration 10
  sealmq bench --rate 500 --duration 10            latency under that load, not at the limit
  sealmq bench --csv | tail -n 1 >> runs.csv       a line a run
  sealmq bench latency --size 64                   one message at a time: publish to delivery
  sealmq bench connect --count 200 --at-once 100   new sessions

It makes topics of its own, which you alone can read, and deletes them at the end, also after Ctrl-C. What a run that \
was killed has left: sealmq topics --names 'bench/#'

`delivery` is the time from a publish to a subscriber that has verified the message, `answer` that to the broker's \
answer. With many on their way at once it is waiting, mostly: `bench latency` has one. All messages are sealed, signed \
and verified here, so rates are of both ends together. The broker's CPU time for each delivery is what compares \
brokers and machines; it is shown where the broker runs on this host, and is yours.

With `--rate` message n is due n/N seconds after the start. What is held up, because a window is full or this program \
late, goes out as soon as it can, and all its times count from when it was due, so a stall shows in every message that \
it held up; `lag` is the part before the publish. If the rate is not reached, that is said.

Ctrl-C ends a run early; what was measured until then is shown, with exit code 1. Again, it ends at once.";

pub const BENCH_LATENCY: &str = "\
Examples:
  sealmq bench latency                             2000 messages of 128 bytes, stored on the broker's disk
  sealmq bench latency --durability memory --size 16KiB
  sealmq bench latency --rate 20 --count 200       with a rest in between, as for a sensor

Each message is published when the one before has been answered and has come, with `--rate` not before it is due: its \
times count from then, and `lag` is what it waited for the one before. `delivery` is the time from the publish \
to the subscriber, who has verified it, `answer` that to the broker's answer; with `disk` it has synced by then.";

pub const BENCH_CONNECT: &str = "\
Examples:
  sealmq bench connect                             100 new sessions, 32 on their way at a time
  sealmq bench connect --count 20 --at-once 1      what one alone costs
  sealmq bench connect --count 5000                how many fit (ulimit -n, here and at the broker)

A session's time is from dialling until both sides have proved who they are; with many at once it is waiting for this \
program's own RSA, mostly. One signature of the broker is for all who come at the same time. It gives handshakes a \
share of its time; above that they wait, or are told to come again.";

pub const STATS: &str = "\
Examples:
  sealmq stats                                     a counter a line
  sealmq stats | grep connections
  watch sealmq stats -h broker.lan";

pub const SHELL: &str = "\
Examples:
  sealmq shell                                     then: help
  sealmq shell --as alice -h broker.lan
  echo 'publish home/kitchen 21.5' | sealmq shell   commands from a file or a pipe

Commands typed at the prompt are kept in the state folder (~/.local/state/sealmq), messages to be published
among them, readable by you alone. Begin a line with a space to leave it out.";

pub const COMPLETIONS: &str = "\
Examples:
  sealmq completions bash > ~/.local/share/bash-completion/completions/sealmq
  sealmq completions zsh > ~/.zfunc/_sealmq
  sealmq completions fish > ~/.config/fish/completions/sealmq.fish";

pub const CA: &str = "\
Examples:
  sealmq ca init                                   make a CA: keys/ca.key and certs/ca.crt
  sealmq ca issue --broker broker                  a broker's key and certificate, for this host
  sealmq ca issue alice                            a client's
  sealmq ca list --expiring 30d";
