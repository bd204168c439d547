%% Scenarios of event managers. The steps are explained in scenario/events.rs.
-module(oracle_events).
-behaviour(gen_event).
-export([run/1]).
-export([init/1, handle_event/2, handle_call/2, terminate/2]).

%% ---- The driver.

run(Steps) ->
    {S, Trace} = lists:foldl(fun step/2, {#{manager => none, owner => none}, []}, Steps),
    clean_up(S),
    lists:reverse(Trace).

step(Words, {S, Trace}) ->
    {Done, S1} = case S of
        #{manager := none} when Words =/= ["start"] -> {"skip", S};
        _ -> act(Words, S)
    end,
    oracle:settle(),
    {Logged, S2} = heard(S1, []),
    Lines = Logged ++ lists:sort(told()) ++ look(S2),
    {S2, lists:reverse([["step ", lists:join($\s, Words)], Done | Lines]) ++ Trace}.

act(["start"], S = #{manager := none}) ->
    {ok, Manager} = gen_event:start(),
    {"ok", S#{manager := Manager}};
act(["stop"], S = #{manager := Manager}) ->
    ok = gen_event:stop(Manager),
    {"ok", S#{manager := none}};
act(["add", Id], S = #{manager := Manager}) ->
    %% gen_event lets several have the same id.
    {case has(Id, S) of true -> "exists"; false -> reply(gen_event:add_handler(Manager, {?MODULE, Id}, {Id, self()})) end, S};
act(["sup", Id], S) ->
    S1 = #{manager := Manager, owner := {Owner, _}} = owner(S),
    case has(Id, S) of
        true -> {"exists", S1};
        false -> Owner ! {sup, Manager, Id}, {receive {done, Reply} -> reply(Reply) end, S1}
    end;
act(["delete", Id], S = #{manager := Manager}) ->
    {reply(gen_event:delete_handler(Manager, {?MODULE, Id}, deleted)), S};
act(["swap", Old, New], S = #{manager := Manager}) ->
    Taken = Old =/= New andalso has(New, S),
    {case Taken of
         true -> "exists";
         false -> reply(gen_event:swap_handler(Manager, {{?MODULE, Old}, swap}, {{?MODULE, New}, {New, self()}}))
     end, S};
act(["ask", Id, What], S = #{manager := Manager}) ->
    {reply(gen_event:call(Manager, {?MODULE, Id}, What)), S};
act(["notify" | Events], S = #{manager := Manager}) ->
    [gen_event:notify(Manager, Event) || Event <- Events],
    {"ok", S};
act(["sync", Event], S = #{manager := Manager}) ->
    {reply(gen_event:sync_notify(Manager, Event)), S};
act(["kill", "owner"], S = #{owner := {Owner, _}}) ->
    exit(Owner, kill),
    {"ok", S};
act(_, S) -> {"skip", S}.

has(Id, #{manager := Manager}) -> lists:member({?MODULE, Id}, gen_event:which_handlers(Manager)).

reply(ok) -> "ok";
reply(Count) when is_integer(Count) -> integer_to_list(Count);
reply({error, module_not_found}) -> "missing";
reply({error, bad_module}) -> "missing";
reply({error, {'EXIT', _}}) -> "crashed".

owner(S = #{owner := none}) ->
    Driver = self(),
    S#{owner := spawn_monitor(fun() -> own(Driver) end)};
owner(S) -> S.

own(Driver) ->
    receive
        {sup, Manager, Id} -> Driver ! {done, gen_event:add_sup_handler(Manager, {?MODULE, Id}, {Id, Driver})};
        {gen_event_EXIT, {_, Id}, Reason} -> Driver ! {told, ["told ", Id, $\s, removal(Reason)]}
    end,
    own(Driver).

removal({swapped, {_, New}, _}) -> ["swapped ", New];
removal({'EXIT', _}) -> "crash";
removal(Reason) -> oracle:reason(Reason).

heard(S = #{owner := Owner}, Lines) ->
    receive
        {log, Line} -> heard(S, [Line | Lines]);
        {'DOWN', Monitor, process, Pid, _} when {Pid, Monitor} =:= Owner -> heard(S#{owner := none}, Lines)
    after 0 -> {lists:reverse(Lines), S}
    end.

told() ->
    receive {told, Line} -> [lists:flatten(Line) | told()]
    after 0 -> []
    end.

look(#{manager := none}) -> [];
look(#{manager := Manager}) -> [["handlers ", oracle:join([Id || {_, Id} <- gen_event:which_handlers(Manager)])]].

clean_up(#{manager := Manager, owner := Owner}) ->
    [exit(Pid, kill) || Pid <- [Manager | case Owner of none -> []; {Pid, _} -> [Pid] end], is_pid(Pid)],
    oracle:settle(),
    flush().

flush() ->
    receive _ -> flush() after 0 -> ok end.

%% ---- The handler.

%% In the place of another.
init({{Id, Driver}, _}) when is_list(Id) -> init({Id, Driver});
init({Id, Driver}) ->
    Driver ! {log, ["up ", Id]},
    {ok, #{id => Id, driver => Driver, count => 0}}.

handle_event(Event, S = #{id := Id, driver := Driver, count := Count}) ->
    Driver ! {log, ["hears ", Id, $\s, Event]},
    case string:lexemes(Event, ":") of
        ["crash", Id] -> error(boom);
        ["enough", Id] -> remove_handler;
        _ -> {ok, S#{count := Count + 1}}
    end.

handle_call("count", S = #{count := Count}) -> {ok, Count, S};
handle_call("crash", _) -> error(boom).

terminate(_, #{id := Id, driver := Driver}) ->
    Driver ! {log, ["gone ", Id]},
    ok.
