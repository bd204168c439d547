%% Scenarios of state machines. The lines are explained in scenario/machines.rs.
-module(oracle_machines).
-behaviour(gen_statem).
-export([run/1]).
-export([init/1, callback_mode/0, handle_event/4]).

-define(HOUR_MS, 3600000).

%% ---- The driver.

run(Steps) ->
    {S, Trace} = lists:foldl(fun step/2, {#{rules => #{}, entries => #{}, tired => 0, machine => none, asked => 0}, []},
                             Steps),
    clean_up(S),
    lists:reverse(Trace).

step(["tired", Handled], {S, Trace}) ->
    {S#{tired := list_to_integer(Handled)}, Trace};
step(["rule", State, Event, Where | Actions], {S = #{rules := Rules}, Trace}) ->
    {S#{rules := Rules#{{list_to_atom(State), Event} => {Where, Actions}}}, Trace};
step(["entry", State | Actions], {S = #{entries := Entries}, Trace}) ->
    {S#{entries := Entries#{list_to_atom(State) => Actions}}, Trace};
step(Words, {S, Trace}) ->
    S1 = act(Words, S),
    oracle:settle(),
    Lines = heard() ++ lists:sort(answers()) ++ look(S1),
    {S1, lists:reverse([["step ", lists:join($\s, Words)] | Lines]) ++ Trace}.

act(["start"], S = #{machine := none}) ->
    {ok, {Pid, _}} = gen_statem:start_monitor(?MODULE, {self(), maps:with([rules, entries, tired], S)}, []),
    S#{machine := Pid};
act(["send" | Events], S = #{machine := Pid}) when is_pid(Pid) ->
    [gen_statem:cast(Pid, Event) || Event <- Events],
    S;
act(["ask", Event], S = #{machine := Pid, asked := Asked}) when is_pid(Pid) ->
    Driver = self(),
    spawn(fun() -> Driver ! {answer, Asked, try gen_statem:call(Pid, Event, infinity) catch exit:_ -> dead end} end),
    S#{asked := Asked + 1};
act(_, S) -> S.

heard() ->
    receive
        {log, Line} -> [Line | heard()];
        {'DOWN', _, process, _, Reason} -> [["down ", oracle:reason(Reason)]]
    after 0 -> []
    end.

answers() ->
    receive {answer, Asked, Answer} -> [lists:flatten(io_lib:format("answer ~w ~s", [Asked, Answer])) | answers()]
    after 0 -> []
    end.

look(#{machine := Pid}) ->
    case is_pid(Pid) andalso is_process_alive(Pid) of
        false -> [];
        true ->
            {status, _, _, [_, _, _, _, Misc]} = sys:get_status(Pid),
            Data = lists:append([Pairs || {data, Pairs} <- Misc]),
            {State, _} = proplists:get_value("State", Data),
            {_, Timeouts} = proplists:get_value("Time-outs", Data),
            Postponed = length(proplists:get_value("Postponed", Data)),
            Names = [Name || Wanted <- [state, event, t0, t1], {Type, _} <- Timeouts, Wanted =:= (Name = timeout(Type))],
            [io_lib:format("state ~s postponed ~w timeouts ~s",
                           [State, Postponed, oracle:join([atom_to_list(Name) || Name <- Names])])]
    end.

clean_up(#{machine := Pid}) ->
    is_pid(Pid) andalso exit(Pid, kill),
    oracle:settle(),
    flush().

flush() ->
    receive _ -> flush() after 0 -> ok end.

%% ---- The machine.

callback_mode() -> [handle_event_function, state_enter].

init({Driver, Table}) ->
    {ok, s0, Table#{driver => Driver, handled => 0}}.

handle_event(enter, Old, State, D = #{driver := Driver, entries := Entries}) ->
    Driver ! {log, io_lib:format("enter ~s ~s", [Old, State])},
    {keep_state, D, [action(Action, none, State) || Action <- maps:get(State, Entries, [])]};
handle_event(Type, Content, State, D = #{driver := Driver, rules := Rules, handled := Handled, tired := Tired}) ->
    {Kind, Event} = name(Type, Content),
    Driver ! {log, io_lib:format("handle ~s ~s~s", [State, Kind, Event])},
    D1 = D#{handled := Handled + 1},
    {Where, Words} = maps:get({State, Event}, Rules, {"keep", []}),
    Actions = lists:append([listed(action(Word, Type, State)) || Word <- Words]),
    case Where of
        _ when Handled >= Tired -> {stop, tired, D1};
        "keep" -> {keep_state, D1, Actions};
        "repeat" -> {repeat_state, D1, Actions};
        "stop:" ++ Reason -> {stop_and_reply, list_to_atom(Reason), [R || R = {reply, _, _} <- Actions], D1};
        _ -> {next_state, list_to_atom(Where), D1, Actions}
    end.

listed(none) -> [];
listed(Action) -> [Action].

name(cast, Event) -> {"", Event};
name({call, _}, Event) -> {"", Event};
name(internal, Event) -> {"inner ", Event};
name(Type, _) -> {"", "time:" ++ atom_to_list(timeout(Type))}.

timeout(state_timeout) -> state;
timeout(timeout) -> event;
timeout({timeout, Name}) -> Name.

type("state") -> state_timeout;
type("event") -> timeout;
type(Name) -> {timeout, list_to_atom(Name)}.

action("postpone", _, _) -> postpone;
action("reply", {call, From}, State) -> {reply, From, State};
action("reply", _, _) -> none;
action("insert:" ++ Event, _, _) -> {next_event, internal, Event};
action("cancel:" ++ Name, _, _) -> {type(Name), cancel};
action("zero:" ++ Name, _, _) -> {type(Name), 0, zero};
action("long:" ++ Name, _, _) -> {type(Name), ?HOUR_MS, long}.
