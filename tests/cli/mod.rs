//! The tool, from its command line to its exit code, on children of this machine.

mod about;
mod advising;
mod allowing;
mod cache;
mod calling;
mod choosing;
mod config;
mod ending;
mod exits;
mod forward;
mod input;
mod json;
mod keeping;
mod many;
mod methods;
pub(crate) mod old_kernel;
mod options;
mod passwords;
mod rsh;
mod running;
mod schema;
mod script;
pub(crate) mod shell;
mod showing;
mod surroundings;
mod text;
mod transcripts;
pub(crate) mod transfer;
mod tree;

/// A trial: its sentence and its function.
type Trial = (String, fn() -> anyhow::Result<()>);

#[expect(clippy::too_many_lines, reason = "a list")]
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
            the_command_has_its_directory_and_its_variables
            a_command_is_not_taken_apart_by_any_shell
            hosts_lists_what_run_would_use
            the_exit_code_tells_what_went_wrong
            the_largest_code_of_a_host_is_given_when_asked_for
            what_did_not_succeed_can_be_run_again
            no_more_hosts_at_once_than_the_fan_out_allows
            what_a_login_prints_after_our_child_has_ended_is_no_matter
            where_the_own_image_is_killed_one_is_sent
            what_ssh_hides_of_a_refused_login_is_told_by_doctor
            doctor_advises_what_to_try_next_and_not_itself
            doctor_asks_ssh_whether_it_has_logged_in
            a_login_shell_that_does_not_come_to_our_command_is_told_by_what_it_does
            a_tool_that_was_started_with_its_children_ignored_hears_of_their_ends
            a_connection_that_is_lost_while_the_command_runs_is_told_as_such
            more_hosts_than_open_files_allow_lose_none_and_commands_keep_the_limit
            a_hop_is_left_when_the_last_host_behind_it_is_done
            where_files_are_too_few_the_limit_is_named
            few_open_files_are_enough_for_what_starts_no_host
            what_happens_is_told_on_demand_by_hops_too
            debug_logs_are_written_on_demand
            a_child_of_the_tool_is_known_by_its_name_and_passes_on_a_clean_environment
        ;
        showing:
            what_a_terminal_acts_on_goes_out_as_an_escape
            of_a_progress_bar_the_last_frame_is_shown
            a_silent_run_shows_on_a_terminal_alone_how_far_it_is
            a_long_line_is_whole_or_marked
            the_memory_of_a_tool_that_holds_a_password_is_kept_from_others
            a_password_that_is_missing_or_wrong_is_told_once_and_names_the_option
            what_people_of_other_tools_type_is_answered_with_what_it_is_here
        ;
        exits:
            what_cannot_be_written_is_no_success
            help_is_found_where_it_is_looked_for
            a_command_that_has_ended_in_time_has_its_code_even_if_others_write_on
            hosts_that_were_interrupted_have_their_seconds
            a_program_without_images_is_a_wrong_argument
        ;
        advising:
            a_copy_that_is_there_is_run_at_every_hop_that_can
            a_copy_that_is_not_there_is_told_as_such
            advice_is_about_the_program_that_failed
            this_machine_needs_no_ssh
            a_hop_that_is_lost_is_told_in_plain_words
            a_hop_that_is_almost_a_method_is_asked_about
            words_of_the_shell_are_advised_to_be_a_line_of_shell
            advice_for_many_hosts_is_said_once
        ;
        allowing:
            a_host_runs_only_what_is_allowed
            an_installed_copy_keeps_to_its_arguments_whatever_its_parent_says
            a_host_without_an_image_is_sent_none
        ;
        input:
            stdin_goes_to_a_command_by_hops_too
            stdin_goes_to_all_hosts_whole_and_each_takes_it_at_its_own_pace
            commands_without_input_see_its_end_at_once
            a_command_that_does_not_read_its_input_is_no_error
            time_and_signals_end_commands_that_wait_for_input
        ;
        script:
            a_script_runs_by_its_interpreter_with_its_arguments_and_input
            a_script_on_stdin_runs_and_gets_no_input
            a_script_has_the_exit_code_and_the_options_of_a_command
            no_file_of_a_script_is_on_the_host_and_its_text_is_in_no_argument
            a_script_that_cannot_be_run_is_told_before_anything_is_connected
        ;
        transfer:
            a_tree_is_pushed_and_then_only_what_differs
            each_host_is_pulled_into_a_directory_of_its_own
            what_cannot_be_copied_is_told_and_the_rest_arrives
            a_full_disk_ends_the_copy_with_its_name
            a_copy_keeps_to_its_rate
            a_copy_shows_on_a_terminal_alone_how_far_it_is
            ten_thousand_small_files_take_a_moment
            a_push_that_is_killed_leaves_the_old_file_or_the_new_one
            a_copy_that_is_interrupted_leaves_no_drafts_of_small_files
            a_file_above_the_limit_of_its_size_is_told
            a_read_only_directory_is_updated_by_its_owner_and_stays_so
            what_is_mounted_and_other_systems_lose_nothing
            a_copy_that_nobody_can_mean_is_refused
        ;
        shell:
            a_terminal_there_has_the_size_and_the_variables_of_the_one_here
            the_login_shell_of_the_user_is_started_and_its_code_is_that_of_the_tool
            ctrl_c_stops_a_command_that_prints_without_end_at_once
            ctrl_z_stops_a_job_there_and_not_the_tool
            the_escape_character_leaves_and_ends_what_runs_there
            much_output_and_much_input_arrive_whole
            the_terminal_is_as_before_however_the_shell_ends
            a_shell_that_is_stopped_from_outside_leaves_the_terminal_to_others
            everything_on_the_terminal_there_ends_with_a_tool_that_is_killed_alone
            without_a_terminal_there_is_no_shell_and_the_remedy_is_named
        ;
        json:
            json_is_one_document_with_every_host
            much_output_as_json_takes_little_memory
            jsonl_tells_everything_as_it_happens
            a_command_that_cannot_be_started_is_an_error_in_json
        ;
        schema:
            all_json_is_as_its_schema_says
            the_schema_refuses_what_is_not_as_it_says
        ;
        calling:
            functions_are_listed_with_their_signatures
            a_function_is_called_by_any_end_of_its_name
            results_are_part_of_both_kinds_of_json
            what_cannot_be_called_is_told_before_anything_is_connected
        ;
        choosing:
            groups_wildcards_and_exclusions_choose_hosts
            an_inventory_selects_nobody
            two_hosts_at_one_address_are_two_children
            ssh_gets_what_the_inventory_says_of_a_host
            the_hosts_that_failed_are_chosen_again
            the_rerun_names_the_inventory_that_was_found
            a_program_that_prints_an_inventory_is_run
            what_an_expression_stands_for_is_explained
            a_variable_of_pdsh_names_a_file_of_hosts
            what_cannot_be_chosen_is_told
            a_user_that_no_login_takes_is_told
            groups_are_listed_with_their_hosts
        ;
        config:
            groups_commands_and_hosts_of_the_configuration_are_used
            the_command_line_comes_before_the_configuration
            a_configuration_that_is_wrong_is_refused_where_it_is_wrong
            a_configuration_that_everyone_may_write_is_not_read
        ;
        keeping:
            later_commands_use_what_a_run_has_kept
            a_kept_connection_that_was_lost_is_made_again
            the_commands_of_a_run_that_is_stopped_end_and_its_connections_stay
            kept_connections_end_when_their_time_is_over
            a_keeper_that_is_stopped_is_gone_on_without
            a_shell_uses_a_kept_connection
            a_kept_connection_that_stalls_is_left_to_those_who_use_it
            a_keeper_inherits_nothing_of_its_run
            without_a_place_for_a_keeper_a_run_goes_on_alone;
        methods:
            a_method_of_the_configuration_is_a_hop_wherever_it_stands
            what_a_method_prints_has_the_meaning_that_the_configuration_gives
            nsenter_and_chroot_are_methods
        ;
        old_kernel:
            the_main_jobs_are_done_on_a_kernel_of_2013
        ;
        rsh:
            bytes_pass_as_they_are_and_the_exit_code_is_that_of_the_command
            output_comes_until_every_process_has_closed_it
            rsync_copies_a_tree_there_and_back
            git_clones_and_pushes
            scp_copies_by_sftp_and_by_its_old_protocol
            a_slow_reader_holds_up_the_command
            an_rsh_that_is_killed_leaves_nothing_alone
            a_command_of_rsh_has_a_terminal_that_is_the_one_here
            rsh_without_a_command_is_a_login_on_a_terminal
            rsh_makes_a_terminal_where_there_is_none_if_it_is_forced
            rsh_holds_a_connection_without_a_command
            a_program_reaches_hosts_behind_a_path_by_its_own_ssh
            the_directory_of_with_is_removed_after_a_signal
        ;
        forward:
            bytes_go_both_ways_by_ports_and_sockets_and_each_direction_ends_by_itself
            sixty_four_connections_pass_at_once
            a_thousand_connections_pass_at_once_and_closed_ones_give_their_places_back
            a_forward_that_ends_resets_its_connections_at_both_ends
            a_target_that_refuses_is_told_once_and_the_others_go_on
            a_lost_connection_ends_the_forward_and_what_passed_through_it
            much_data_takes_little_memory_even_if_its_reader_is_slow
            what_cannot_be_listened_on_is_told_before_anything_is_connected
            rsh_passes_its_streams_to_a_port
        ;
        tree:
            the_tree_shows_each_context_once_below_the_one_that_has_started_it
            the_tree_as_json_has_what_failed_and_what_was_sent
        ;
        about:
            bash_completes_options_hosts_and_groups
            zsh_completes_options_hosts_and_groups
            fish_completes_options_hosts_and_groups
            help_has_topics_and_commands
            manual_pages_are_printed_and_written
            every_command_has_a_section_in_the_reference
        ;
        ending:
            a_command_that_takes_too_long_is_ended
            a_command_that_does_not_want_to_end_is_killed
            a_tool_that_is_killed_or_loses_its_terminal_takes_its_commands_along_alone
            the_whole_tree_of_a_killed_tool_ends_within_a_second_alone
            a_tool_that_is_to_ignore_the_loss_of_its_terminal_does
            output_waits_for_a_reader_that_comes_late
            output_of_a_filter_that_outlives_its_writer_is_shown
            output_that_a_daemon_holds_open_is_told_and_holds_nobody_up
            a_reader_that_has_seen_enough_is_no_error
            a_reader_that_goes_after_the_last_host_is_done_changes_nothing
            signals_are_heard_while_nobody_reads_stdout
            short_lines_that_nobody_reads_take_little_memory_and_no_time_at_the_end
            what_has_arrived_is_shown_when_the_reader_comes_back
            a_timeout_holds_while_nobody_reads_stdout
            a_run_that_is_over_waits_for_its_reader_until_a_signal_comes
            a_stderr_that_nobody_reads_holds_up_neither_hosts_nor_signals
            output_that_nobody_reads_is_cut_when_time_is_up_or_a_signal_has_come
            hosts_whose_output_was_cut_have_failed
            ctrl_c_shows_what_has_arrived_and_ends_everything
            ctrl_c_twice_ends_it_at_once_and_is_tried_alone
            ctrl_c_while_hosts_are_being_reached_is_heard
        ;
        running:
            a_batch_begins_when_the_one_before_is_done
            no_more_hosts_are_started_when_too_many_have_failed
            a_host_that_cannot_be_reached_is_tried_again
            what_another_attempt_cannot_mend_is_not_tried_again
            a_hop_is_tried_again_once_for_all_hosts_behind_it
            commands_that_failed_are_tried_again_if_that_is_asked_for
            a_run_ends_at_its_deadline
            hosts_are_reached_where_the_system_has_no_random_device
        ;
        many:
            lines_that_hosts_print_at_the_same_time_are_shown_once
            a_terminal_shows_equal_lines_once_while_the_run_goes_on
            much_output_is_gathered_in_little_more_memory_than_it_has_bytes
            equal_output_is_gathered_and_the_odd_ones_are_told_by_their_difference
            the_output_of_each_host_is_written_to_files
            files_are_complete_if_the_run_is_stopped
            lines_can_have_their_time
            a_command_has_its_host_in_it_if_that_is_asked_for
            many_hosts_are_asked_about_on_a_terminal_alone
            a_quiet_run_tells_failures_only
            a_dry_run_prints_what_would_be_run_and_connects_to_nothing
            a_plan_shows_each_hop_once_with_its_command
        ;
        passwords:
            a_password_comes_from_a_file_a_command_or_a_descriptor
            a_password_that_cannot_be_had_is_told_before_anything_is_connected
            the_configuration_can_say_where_passwords_come_from
            the_command_of_each_hop_is_logged_on_demand_and_no_password
        ;
        cache:
            what_hosts_keep_is_listed_and_removed
            a_cache_that_cannot_be_listed_is_told
        ;
        options:
            the_path_of_via_is_on_the_way
            colour_is_used_as_the_option_and_the_environment_say
            without_a_home_everything_works
            the_order_and_the_end_of_a_copy_are_those_of_a_run
            a_copy_to_many_hosts_is_asked_about_as_the_setting_says
            slow_hosts_are_named_in_the_summary
            the_other_commands_take_the_options_of_the_way
            the_group_sources_of_the_guide_ask_as_their_programs_want_it
        ;
        surroundings:
            what_others_have_put_into_the_current_directory_is_not_read
            bash_is_offered_no_name_on_which_it_would_act
            what_a_parent_did_with_signals_changes_nothing
            a_tool_that_is_asked_what_it_does_goes_on
            streams_that_are_non_blocking_are_awaited
            files_of_outdir_wait_for_a_place_when_files_run_out
            a_file_that_may_not_grow_is_told
            an_ssh_that_starts_the_tool_again_is_told
            a_timeout_is_told_as_it_was_given
            a_login_that_is_a_path_is_told
        ;
        transcripts:
            transcripts_that_need_more_than_this_machine_are_true
        ;
    }
}
