%% Runs scenarios on real OTP and prints what could be observed of each.
%%
%% Reads from stdin: a line with the kind, the scenario's lines, a line "end". Prints the trace and a line
%% "end". One node runs thousands of scenarios; each leaves nothing behind.
-module(oracle).
-export([main/0, settle/0, reason/1, join/1]).

main() ->
    case line() of
        eof -> halt(0, [{flush, true}]);
        "processes" -> answer(oracle_processes:run(lines()));
        "trees" -> answer(oracle_trees:run(lines()));
        "crowds" -> answer(oracle_trees:run(lines()));
        "state_machines" -> answer(oracle_machines:run(lines()));
        "event_managers" -> answer(oracle_events:run(lines()))
    end,
    main().

answer(Trace) ->
    io:put_chars([[[Line, $\n] || Line <- Trace], "end\n"]).

line() ->
    case io:get_line("") of
        eof -> eof;
        Line -> string:trim(Line, trailing, "\n")
    end.

lines() ->
    case line() of
        "end" -> [];
        Line -> [string:lexemes(Line, " ") | lines()]
    end.

%% Waits until nothing moves. Nothing moves if two looks, one after the other, find every process waiting and none of
%% them has run in between: whatever is sent makes its receiver runnable at once, so nothing is on its way either. The
%% node's own processes count too: a crash may wait for the code server.
settle() ->
    settle(none).

settle(Before) ->
    Seen = [look(Pid) || Pid <- processes(), Pid =/= self()],
    Waits = lists:all(fun({_, [{status, waiting} | _]}) -> true; (_) -> false end, Seen),
    if
        Waits, Seen =:= Before -> ok;
        true -> erlang:yield(), settle(Seen)
    end.

%% A process that is exiting is listed still, and has no status.
look(Pid) ->
    {Pid, process_info(Pid, [status, reductions, message_queue_len])}.

%% A crash is told by its reason and stack in OTP and by its text in Tiebeam; both are "crash" here.
reason({boom, Stack}) when is_list(Stack) -> "crash";
reason(Reason) when is_atom(Reason) -> atom_to_list(Reason);
reason(Reason) -> io_lib:format("~0p", [Reason]).

join([]) -> "-";
join(Words) -> lists:join($,, Words).
