//! The tool, from its command line to its exit code, on children of this machine.

mod calling;
mod ending;
mod json;
mod text;

/// A trial, by its sentence.
type Trial = (String, fn() -> anyhow::Result<()>);

pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident: $($trial:ident)*;)*) => {
            vec![$($((stringify!($trial).replace('_', " "), $module::$trial as _),)*)*]
        };
    }
    trials! {
        text:
            a_command_runs_on_children_and_on_a_child_of_a_child
            lines_are_shown_as_they_come
            stdout_and_stderr_stay_apart
            much_output_of_many_hosts_arrives_whole_and_in_order
            forty_children_are_no_matter
            the_command_has_its_directory_its_variables_and_no_input
            a_command_is_not_taken_apart_by_any_shell
            hosts_lists_what_run_would_use
            the_exit_code_tells_what_went_wrong
            the_largest_code_of_a_host_is_given_when_asked_for
            what_did_not_succeed_can_be_run_again
            no_more_hosts_at_once_than_the_fan_out_allows
            what_happens_is_told_on_demand_by_hops_too
            debug_logs_are_written_on_demand
            a_child_of_the_tool_is_known_by_its_name_and_passes_on_a_clean_environment
        ;
        json:
            json_is_one_document_with_every_host
            jsonl_tells_everything_as_it_happens
            a_command_that_cannot_be_started_is_an_error_in_json
        ;
        calling:
            functions_are_listed_with_their_signatures
            a_function_is_called_by_any_end_of_its_name
            results_are_part_of_both_kinds_of_json
            what_cannot_be_called_is_told_before_anything_is_connected
        ;
        ending:
            a_command_that_takes_too_long_is_ended
            a_reader_that_has_seen_enough_is_no_error
            ctrl_c_shows_what_has_arrived_and_ends_everything
            ctrl_c_twice_ends_it_at_once_and_is_tried_alone
            ctrl_c_while_hosts_are_being_reached_is_heard
        ;
    }
}
