//! Each example runs to its end; what it asserts holds. They run on real time, as they do for a reader.

#[path = "../../examples/14_agent.rs"]
mod agent;
#[path = "../../examples/19_aliases.rs"]
mod aliases;
#[path = "../../examples/09_bounded_mailbox.rs"]
mod bounded_mailbox;
#[path = "../../examples/20_code_change.rs"]
mod code_change;
#[path = "../../examples/01_counter.rs"]
mod counter;
#[path = "../../examples/07_deferred_reply.rs"]
mod deferred_reply;
#[path = "../../examples/06_dynamic_supervisor.rs"]
mod dynamic_supervisor;
#[path = "../../examples/15_event_manager.rs"]
mod event_manager;
#[path = "../../examples/18_inspect.rs"]
mod inspect;
#[path = "../../examples/03_links_and_exits.rs"]
mod links_and_exits;
#[path = "../../examples/04_monitors.rs"]
mod monitors;
#[path = "../../examples/02_names.rs"]
mod names;
#[path = "../../examples/17_overflow.rs"]
mod overflow;
#[path = "../../examples/21_partition_supervisor.rs"]
mod partition_supervisor;
#[path = "../../examples/11_protocol.rs"]
mod protocol;
#[path = "../../examples/16_registry.rs"]
mod registry;
#[path = "../../examples/12_state_machine.rs"]
mod state_machine;
#[path = "../../examples/05_supervisor.rs"]
mod supervisor;
#[path = "../../examples/13_task_supervisor.rs"]
mod task_supervisor;
#[path = "../../examples/10_tasks.rs"]
mod tasks;
#[path = "../../examples/08_timers.rs"]
mod timers;

#[test]
fn counter_runs() {
    counter::main().unwrap();
}

#[test]
fn names_runs() {
    names::main().unwrap();
}

#[test]
fn links_and_exits_runs() {
    links_and_exits::main().unwrap();
}

#[test]
fn monitors_runs() {
    monitors::main().unwrap();
}

#[test]
fn supervisor_runs() {
    supervisor::main().unwrap();
}

#[test]
fn dynamic_supervisor_runs() {
    dynamic_supervisor::main().unwrap();
}

#[test]
fn deferred_reply_runs() {
    deferred_reply::main().unwrap();
}

#[test]
fn timers_runs() {
    timers::main().unwrap();
}

#[test]
fn bounded_mailbox_runs() {
    bounded_mailbox::main().unwrap();
}

#[test]
fn tasks_runs() {
    tasks::main().unwrap();
}

#[test]
fn protocol_runs() {
    protocol::main().unwrap();
}

#[test]
fn state_machine_runs() {
    state_machine::main().unwrap();
}

#[test]
fn task_supervisor_runs() {
    task_supervisor::main().unwrap();
}

#[test]
fn agent_runs() {
    agent::main().unwrap();
}

#[test]
fn event_manager_runs() {
    event_manager::main().unwrap();
}

#[test]
fn registry_runs() {
    registry::main().unwrap();
}

#[test]
fn overflow_runs() {
    overflow::main().unwrap();
}

#[test]
fn inspect_runs() {
    inspect::main().unwrap();
}

#[test]
fn aliases_runs() {
    aliases::main().unwrap();
}

#[test]
fn code_change_runs() {
    code_change::main().unwrap();
}

#[test]
fn partition_supervisor_runs() {
    partition_supervisor::main().unwrap();
}
