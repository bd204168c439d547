%% Scenarios of processes that link, watch, call and end each other. The steps are explained in scenario.rs.
-module(oracle_processes).
-behaviour(gen_server).
-export([run/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(NAMES, [n0, n1, n2]).

%% ---- The driver: takes one step, waits until nothing moves, writes down what it sees.
%% latest: label => its last pid; names: pid => label and number of its life; busy: caller => {callee, limit} while it
%% waits for an answer; paused: those that wait in init, terminate or a handler until they are released.

run(Steps) ->
    S0 = #{latest => #{}, names => #{}, lives => #{}, busy => #{}, paused => #{}, alive => #{}},
    {S, Trace} = lists:foldl(fun step/2, {S0, []}, Steps),
    clean_up(S),
    lists:reverse(Trace).

step(Words, {S, Trace}) ->
    Done = act(Words, S),
    {S1, Lines} = observe(S, []),
    Head = ["step ", lists:join($\s, Words)],
    {S1, lists:reverse([Head, Done] ++ Lines ++ look(S1)) ++ Trace}.

act(["spawn", Label, Trap, "-"], S) ->
    case is_free(Label, S) of
        true ->
            %% gen_server:start/3 makes a process its own parent: an exit signal to itself would then be its parent's.
            {ok, Pid} = gen_server:start_link(?MODULE, {self(), Trap =:= "trap"}, []),
            unlink(Pid),
            self() ! {event, Pid, Pid, {spawned, Label, Pid}},
            "done";
        false -> "skip"
    end;
act(["spawn", Label, Trap, Parent], S) ->
    case {is_free(Label, S), idle(Parent, S)} of
        {true, {ok, Pid}} -> gen_server:cast(Pid, {spawn, Label, Trap =:= "trap"}), "done";
        _ -> "skip"
    end;
%% A parent that doesn't trap exits is ended by a child that is ended in init, not so in Tiebeam.
act(["spawnslow", Label, Trap, Parent], S) ->
    case {is_free(Label, S), idle(Parent, S)} of
        {true, {ok, Pid}} ->
            case process_info(Pid, trap_exit) of
                {trap_exit, true} -> gen_server:cast(Pid, {spawnslow, Label, Trap =:= "trap"}), "done";
                _ -> "skip"
            end;
        _ -> "skip"
    end;
act(["release", Label], #{latest := Latest, paused := Paused}) ->
    case Latest of
        #{Label := Pid} when is_map_key(Pid, Paused) -> Pid ! release, "done";
        _ -> "skip"
    end;
act(["fail", Reason], _) ->
    {error, Why} = gen_server:start(?MODULE, {fail, list_to_atom(Reason)}, []),
    ["failed ", oracle:reason(Why)];
act(["outside", Label, Reason], S) ->
    case S of
        #{latest := #{Label := Pid}} ->
            %% Not by the driver, who is the parent of some.
            spawn(fun() -> exit(Pid, list_to_atom(Reason)) end),
            "done";
        _ -> "skip"
    end;
act(["stop", Label, Reason], S) ->
    case {idle(Label, S), S} of
        {{ok, Pid}, _} -> ok = gen_server:stop(Pid, list_to_atom(Reason), infinity), "done";
        _ -> "skip"
    end;
act(["register", Name, Label], #{latest := Latest}) ->
    case Latest of
        #{Label := Pid} -> register_only(list_to_atom(Name), Pid);
        _ -> "skip"
    end;
act(["unregister", Name], _) ->
    try unregister(list_to_atom(Name)) of true -> "done" catch error:badarg -> "none" end;
act(["do", Label | Acts], S) ->
    case S of
        #{latest := #{Label := Pid}, alive := Alive} when is_map_key(Pid, Alive) ->
            Enders = ["self", "end", "linger", "exit", "crash", "call", "callname"],
            Ends = lists:any(fun(Act) -> lists:member(verb(Act), Enders) end, Acts),
            gen_server:cast(Pid, {acts, lists:flatmap(fun(Act) -> prepare(Act, Pid, Ends, S) end, Acts)}),
            "done";
        _ -> "skip"
    end.

%% In OTP a process has one name, in Tiebeam several: a second one is not asked for.
register_only(Name, Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, _} -> "skip";
        _ -> try register(Name, Pid) of true -> "done" catch error:badarg -> "refused" end
    end.

is_free(Label, #{latest := Latest, alive := Alive}) ->
    not is_map_key(maps:get(Label, Latest, none), Alive).

idle(Label, S = #{latest := Latest, alive := Alive}) ->
    case Latest of
        #{Label := Pid} when is_map_key(Pid, Alive) ->
            case is_busy(Pid, S) of true -> none; false -> {ok, Pid} end;
        _ -> none
    end.

is_busy(Pid, #{busy := Busy, paused := Paused}) -> is_map_key(Pid, Busy) orelse is_map_key(Pid, Paused).

%% Turns labels into pids and drops acts that are not comparable; tiebeam.rs drops the same.
prepare(Act, From, Ends, S = #{latest := Latest, alive := Alive}) ->
    case string:lexemes(Act, ":") of
        [Verb, To | More] when Verb =:= "sendname"; Verb =:= "callname" ->
            name_act(Verb, list_to_atom(To), More, From, S);
        [Verb, To | More] when is_map_key(To, Latest) ->
            Pid = map_get(To, Latest),
            case Verb of
                "link" when Ends, not is_map_key(Pid, Alive) -> [];
                "unlink" when not is_map_key(Pid, Alive) -> [];
                "call" -> call_act(Pid, Pid, More, From, S);
                _ -> [list_to_tuple([list_to_atom(Verb), Pid | More])]
            end;
        [Verb, Arg] when Verb =:= "demonitor"; Verb =:= "trap"; Verb =:= "self"; Verb =:= "end"; Verb =:= "linger" ->
            [{list_to_atom(Verb), Arg}];
        [Verb] -> [list_to_atom(Verb)];
        _ -> []
    end.

verb(Act) -> hd(string:lexemes(Act, ":")).

name_act("sendname", Name, [Number], _, _) -> [{send, Name, Number}];
name_act("callname", Name, More, From, S) -> call_act(Name, whereis(Name), More, From, S).

call_act(To, Pid, Kind, From, S) ->
    LeavesNoMark = lists:member(hd(Kind), ["reply", "defer", "never"]),
    case Pid =/= From andalso not is_busy(From, S) andalso (LeavesNoMark orelse not is_busy(Pid, S)) of
        true -> [{call, To, Pid, Kind}];
        false -> []
    end.

%% Collects until nothing moves and no call waits for its time to be up.
observe(S, Lines) ->
    oracle:settle(),
    {S1, More} = drain(S, []),
    Limited = [Caller || {Caller, {_, "never"}} <- maps:to_list(maps:get(busy, S1))],
    case Limited of
        [] -> {S1, Lines ++ More};
        _ -> timer:sleep(1), observe(S1, Lines ++ More)
    end.

drain(S = #{names := Names, busy := Busy, paused := Paused, alive := Alive}, Lines) ->
    receive
        {event, _, _, {spawned, Label, Pid}} ->
            monitor(process, Pid),
            drain(born(Label, Pid, S), Lines);
        {event, Caller, _, {calling, Callee, Kind}} ->
            drain(S#{busy := Busy#{Caller => {Callee, Kind}}}, Lines);
        {event, Who, _, paused} ->
            drain(S#{paused := Paused#{Who => true}}, Lines);
        {event, Who, _, released} ->
            drain(S#{paused := maps:remove(Who, Paused)}, Lines);
        {event, Who, Source, Event} ->
            Line = ["event ", name(Who, S), $\s, name(Source, S), $\s, text(Event, S)],
            drain(S#{busy := answered(Who, Event, Busy)}, [Line | Lines]);
        {'DOWN', _, process, Pid, Reason} when is_map_key(Pid, Names) ->
            Line = ["died ", name(Pid, S), $\s, oracle:reason(Reason)],
            drain(S#{busy := maps:remove(Pid, Busy), paused := maps:remove(Pid, Paused),
                     alive := maps:remove(Pid, Alive)}, [Line | Lines])
    after 0 ->
        {S, lists:reverse(Lines)}
    end.

born(Label, Pid, S = #{latest := Latest, names := Names, lives := Lives, alive := Alive}) ->
    Life = maps:get(Label, Lives, 0) + 1,
    Name = [Label, $., integer_to_list(Life)],
    S#{latest := Latest#{Label => Pid}, names := Names#{Pid => Name}, lives := Lives#{Label => Life},
       alive := Alive#{Pid => true}}.

answered(Who, {called, _}, Busy) -> maps:remove(Who, Busy);
answered(_, _, Busy) -> Busy.

text({msg, Number}, _) -> ["message ", Number];
text({down, Label, Reason, Held}, _) -> io_lib:format("down ~s ~s held ~0p", [Label, oracle:reason(Reason), Held]);
text({exit, Reason}, _) -> ["exit ", oracle:reason(Reason)];
text({called, Result}, _) -> ["called ", Result];
text({terminate, Reason}, _) -> ["terminate ", oracle:reason(Reason)];
text(crashing, _) -> "crashing";
text({junk, What}, _) -> io_lib:format("junk ~0p", [What]).

name(Pid, #{names := Names}) when is_map_key(Pid, Names) -> map_get(Pid, Names);
name(_, _) -> "outside".

%% What can be seen of the processes that live, and who has which name.
look(S = #{alive := Alive}) ->
    Held = [["name ", atom_to_list(Name), $\s, name(whereis(Name), S)] || Name <- ?NAMES, whereis(Name) =/= undefined],
    Held ++ [look(Pid, S) || Pid <- maps:keys(Alive)].

look(Pid, S = #{busy := Busy}) ->
    [{links, Links}, {monitors, Monitors}, {monitored_by, Watchers}, {trap_exit, Trap}] =
        process_info(Pid, [links, monitors, monitored_by, trap_exit]),
    %% A call watches its callee in OTP; Tiebeam keeps callers in a list of their own.
    Callees = [Callee || {Caller, {Callee, _}} <- maps:to_list(Busy), Caller =:= Pid],
    Callers = [Caller || {Caller, {Callee, _}} <- maps:to_list(Busy), Callee =:= Pid],
    Names = fun(Pids) -> oracle:join(lists:sort([lists:flatten(name(Other, S)) || Other <- Pids])) end,
    io_lib:format("alive ~s ~s links ~s watches ~s watched ~s",
                  [name(Pid, S), if Trap -> "traps"; true -> "plain" end, Names(Links),
                   Names([Other || {process, Other} <- Monitors] -- Callees), Names((Watchers -- [self()]) -- Callers)]).

clean_up(#{alive := Alive}) ->
    [exit(Pid, kill) || Pid <- maps:keys(Alive)],
    oracle:settle(),
    flush().

flush() ->
    receive _ -> flush() after 0 -> ok end.

%% ---- The process under test.

init({fail, boom}) -> error(boom);
init({fail, Reason}) -> {stop, Reason};
init({Driver, Trap}) ->
    process_flag(trap_exit, Trap),
    {ok, #{driver => Driver, monitors => #{}, callers => []}};
init({Driver, Trap, Label}) ->
    {ok, S} = init({Driver, Trap}),
    tell(self(), {spawned, Label, self()}, S),
    pause(S),
    {ok, S}.

pause(S) ->
    tell(self(), paused, S),
    receive release -> tell(self(), released, S) end.

handle_cast({msg, Number, From}, S) -> tell(From, {msg, Number}, S), {noreply, S};
handle_cast({spawn, Label, Trap}, S = #{driver := Driver}) ->
    {ok, Pid} = gen_server:start_link(?MODULE, {Driver, Trap}, []),
    tell(self(), {spawned, Label, Pid}, S),
    {noreply, S};
handle_cast({spawnslow, Label, Trap}, S = #{driver := Driver}) ->
    tell(self(), {calling, none, "start"}, S),
    Result = case gen_server:start_link(?MODULE, {Driver, Trap, Label}, []) of
        {ok, _} -> "started";
        {error, Reason} -> ["failed ", oracle:reason(Reason)]
    end,
    tell(self(), {called, Result}, S),
    {noreply, S};
handle_cast({acts, Acts}, S) -> perform(Acts, S).

perform([], S) -> {noreply, S};
perform([{'end', Reason} | _], S) -> {stop, list_to_atom(Reason), S};
perform([{linger, Reason} | _], S) -> put(lingers, true), {stop, list_to_atom(Reason), S};
perform([crash | _], S) -> crash(S);
perform([Act | Acts], S) -> perform(Acts, perform_one(Act, S)).

perform_one({send, To, Number}, S) -> gen_server:cast(To, {msg, Number, self()}), S;
perform_one({link, Pid}, S) -> link_later(Pid), S;
perform_one({unlink, Pid}, S) -> unlink(Pid), S;
perform_one({monitor, Pid, Label}, S = #{monitors := Monitors}) ->
    S#{monitors := Monitors#{Label => monitor(process, Pid)}};
perform_one({demonitor, Label}, S = #{monitors := Monitors}) ->
    case Monitors of
        #{Label := Ref} -> demonitor(Ref, [flush]);
        _ -> ok
    end,
    S;
perform_one({exit, Pid, Reason}, S) -> exit(Pid, list_to_atom(Reason)), S;
perform_one({self, Reason}, S) -> exit(self(), list_to_atom(Reason)), S;
perform_one({trap, How}, S) -> process_flag(trap_exit, How =:= "on"), S;
perform_one(answer, S = #{callers := Callers}) ->
    [gen_server:reply(From, ok) || From <- lists:reverse(Callers)],
    S#{callers := []};
perform_one(wait, S) -> pause(S), S;
perform_one({call, To, Pid, Kind}, S) ->
    is_pid(Pid) andalso tell(self(), {calling, Pid, hd(Kind)}, S),
    tell(self(), {called, call(To, Kind)}, S),
    S.

%% link/1 raises noproc instead of sending it if the caller doesn't trap exits and the other is of this node and gone
%% (its documentation calls that historical). Tiebeam sends it in any case, as link/1 does to other nodes.
link_later(Pid) ->
    Self = self(),
    try link(Pid) catch error:noproc -> spawn(fun() -> exit(Self, noproc) end) end.

call(To, Kind) ->
    Limit = case Kind of ["never"] -> 5; _ -> infinity end,
    try gen_server:call(To, Kind, Limit) of ok -> "ok"
    catch
        exit:{timeout, {gen_server, call, _}} -> "timeout";
        exit:{noproc, {gen_server, call, _}} -> "noproc";
        exit:{Reason, {gen_server, call, _}} -> ["ended ", oracle:reason(Reason)]
    end.

crash(S) ->
    put(crashed, true),
    tell(self(), crashing, S),
    error(boom).

handle_call(["reply"], _, S) -> {reply, ok, S};
handle_call(["defer"], From, S = #{callers := Callers}) -> {noreply, S#{callers := [From | Callers]}};
handle_call(["never"], From, S = #{callers := Callers}) -> {noreply, S#{callers := [From | Callers]}};
handle_call(["crash"], _, S) -> crash(S);
handle_call(["end", Reason], _, S) -> {stop, list_to_atom(Reason), S};
handle_call(["keep", Reason], From, S) -> handle_call(["end", Reason], From, S);
handle_call(["last", Reason], _, S) -> {stop, list_to_atom(Reason), ok, S}.

handle_info({'DOWN', Ref, process, Pid, Reason}, S = #{monitors := Monitors}) ->
    Label = hd([Label || {Label, Known} <- maps:to_list(Monitors), Known =:= Ref] ++ ["unknown"]),
    tell(Pid, {down, Label, Reason, [Name || Name <- ?NAMES, whereis(Name) =:= Pid]}, S),
    {noreply, S};
handle_info({'EXIT', Pid, Reason}, S) -> tell(Pid, {exit, Reason}, S), {noreply, S};
handle_info(Other, S) -> tell(self(), {junk, Other}, S), {noreply, S}.

%% Tiebeam doesn't trust the state after a crash and doesn't call terminate.
terminate(Reason, S) ->
    get(crashed) =:= true orelse tell(self(), {terminate, Reason}, S),
    get(lingers) =:= true andalso pause(S).

tell(Source, Event, #{driver := Driver}) -> Driver ! {event, self(), Source, Event}.
