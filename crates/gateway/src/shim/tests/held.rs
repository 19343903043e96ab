//! Calls that wait for a person, at the door.

use super::*;

const TOLD: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"A person is asked.","progress":1,"progressToken":"p"}}"#;

fn hold(bench: &Bench, id: u32) {
    bench.client_frame(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"hold","_meta":{{"progressToken":"p"}}}}}}"#
    ));
    assert_eq!(bench.log(), ["Yes"]);
}

fn answer_all(bench: &Bench) {
    for answer in std::mem::take(&mut *bench.script.waiting.lock().unwrap()) {
        answer();
    }
}

#[test]
fn a_held_call_outlives_the_time_of_a_call_and_its_client_is_told_that_it_waits() {
    let bench = Bench::ready();
    hold(&bench, 1);
    let now = Instant::now();
    bench.shim.tick(now);
    assert_eq!(bench.client.line(), TOLD);
    bench.shim.tick(now);
    assert!(bench.client.lines().is_empty(), "not all the time");
    bench.shim.tick(now + Duration::from_secs(61));
    assert!(bench.client.line().contains(r#""progress":2"#), "and it is not given up");
    assert!(bench.server.lines().is_empty(), "nothing was sent");
    answer_all(&bench);
    assert!(bench.server.line().contains(r#""name":"hold""#));
    bench.shim.tick(Instant::now() + Duration::from_secs(59));
    assert!(bench.client.lines().is_empty(), "it waits for no person any more");
    bench.shim.tick(Instant::now() + Duration::from_secs(62));
    assert!(
        bench.client.line().contains("no answer in time"),
        "a call's time begins with its start"
    );
}

#[test]
fn a_held_call_without_a_token_gets_no_notices() {
    let bench = Bench::ready();
    bench.call(1, "hold");
    bench.shim.tick(Instant::now() + Duration::from_secs(61));
    assert!(bench.client.lines().is_empty());
}

#[test]
fn what_is_cancelled_or_given_up_is_withdrawn_and_a_late_yes_sends_nothing() {
    let bench = Bench::ready();
    hold(&bench, 1);
    bench.client_frame(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    assert_eq!(bench.log(), ["withdrawn 7"]);
    answer_all(&bench);
    assert_eq!(bench.log(), ["dropped"]);
    hold(&bench, 2);
    bench.shim.fail_all(Over::Server);
    // It waited for a person, so it is known that nothing of it was sent.
    assert!(bench.client.line().contains("The server has ended. Nothing was done."));
    assert_eq!(bench.log(), ["withdrawn 7"]);
    answer_all(&bench);
    assert!(bench.server.lines().is_empty());
}
