%% Scenarios of supervisors and their children. The steps are explained in scenario/trees.rs.
-module(oracle_trees).
-export([run/1, start_supervisor/3, start_member/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(HOUR, 3600).
-define(STUCK_MS, 5).

%% ---- The driver, who is the root's parent.

run(Steps) ->
    process_flag(trap_exit, true),
    Recorder = spawn(fun() -> record(#{log => [], failing => #{}, lives => #{}, names => #{}, current => #{}}) end),
    {S, Trace} = lists:foldl(fun step/2, {#{recorder => Recorder, trees => #{}, root => none}, []}, Steps),
    clean_up(S),
    lists:reverse(Trace).

step(["supervisor", Id, Strategy, Intensity, Auto, Restart, Parent], {S, Trace}) ->
    Flags = #{strategy => list_to_atom(Strategy), intensity => list_to_integer(Intensity), period => ?HOUR,
              auto_shutdown => auto(Auto)},
    Trees = maps:get(trees, S),
    {add(Parent, {supervisor, Id, Restart}, S#{trees := Trees#{Id => {Flags, []}}}), Trace};
step(["worker", Id, Restart, Trap, Shutdown, Parent], {S, Trace}) ->
    {add(Parent, {worker, Id, Restart, Trap, Shutdown}, S), Trace};
step(["crowd", Intensity, Restart, Shutdown], {S = #{trees := Trees}, Trace}) ->
    Flags = #{strategy => simple_one_for_one, intensity => list_to_integer(Intensity), period => ?HOUR},
    {S#{trees := Trees#{"s0" => {Flags, [{member, Restart, Shutdown}]}}}, Trace};
step(Words, {S, Trace}) ->
    {Done, S1} = act(Words, S),
    {S2, Lines} = observe(S1, []),
    {S2, lists:reverse([["step ", lists:join($\s, Words)], Done] ++ Lines) ++ Trace}.

add(Parent, Child, S = #{trees := Trees}) ->
    case Trees of
        #{Parent := {Flags, Children}} -> S#{trees := Trees#{Parent := {Flags, Children ++ [Child]}}};
        _ -> S
    end.

act(["start"], S = #{trees := Trees, recorder := Recorder, root := none}) when is_map_key("s0", Trees) ->
    case start_supervisor("s0", Trees, Recorder) of
        {ok, Pid} -> {"done", S#{root := Pid}};
        {error, _} -> receive {'EXIT', _, _} -> ok end, {"failed", S}
    end;
act(["fail", Id, Times, How], S) ->
    ask(S, {fail, Id, list_to_integer(Times), How}),
    {"done", S};
act(["leave", Reason], S = #{root := Root}) when is_pid(Root) ->
    exit(Root, list_to_atom(Reason)),
    {"done", S};
act([Verb, Id | More], S) when Verb =:= "kill"; Verb =:= "end"; Verb =:= "crash"; Verb =:= "signal" ->
    case ask(S, {whereis, Id}) of
        none -> {"skip", S};
        Pid -> {hurt(Verb, Pid, More), S}
    end;
act([Verb, Supervisor, Id | More], S)
  when Verb =:= "terminate"; Verb =:= "restart"; Verb =:= "delete"; Verb =:= "add" ->
    case ask(S, {whereis, Supervisor}) of
        none -> {"skip", S};
        Pid -> {reply(try manage(Verb, Pid, Id, More, S) catch exit:_ -> dead end), S}
    end;
act(["join", Id, Trap], S = #{root := Root}) when is_pid(Root) ->
    case ask(S, {whereis, Id}) of
        none -> {reply(supervisor:start_child(Root, [Id, Trap])), S};
        _ -> {"skip", S}
    end;
act(["dismiss", Id], S = #{root := Root}) when is_pid(Root) ->
    case ask(S, {last, Id}) of
        none -> {"skip", S};
        Pid ->
            %% supervisor.erl says ok to any pid that is gone; Elixir's DynamicSupervisor and Tiebeam say that it is no
            %% child.
            Lives = is_process_alive(Pid),
            case supervisor:terminate_child(Root, Pid) of
                ok when not Lives -> {"missing", S};
                Reply -> {reply(Reply), S}
            end
    end;
act(_, S) -> {"skip", S}.

hurt("kill", Pid, []) -> exit(Pid, kill), "done";
hurt("end", Pid, [Reason]) -> gen_server:cast(Pid, {'end', list_to_atom(Reason)}), "done";
hurt("crash", Pid, []) -> gen_server:cast(Pid, crash), "done";
%% Not by the driver, who is the root's parent.
hurt("signal", Pid, [Reason]) -> spawn(fun() -> exit(Pid, list_to_atom(Reason)) end), "done".

manage("terminate", Pid, Id, [], _) -> supervisor:terminate_child(Pid, Id);
manage("restart", Pid, Id, [], _) -> supervisor:restart_child(Pid, Id);
manage("delete", Pid, Id, [], _) -> supervisor:delete_child(Pid, Id);
manage("add", Pid, Id, [Restart, Trap, Shutdown], #{recorder := Recorder}) ->
    supervisor:start_child(Pid, spec({worker, Id, Restart, Trap, Shutdown}, #{}, Recorder)).

reply(ok) -> "ok";
reply({ok, undefined}) -> "ignored";
reply({ok, _}) -> "ok";
reply(dead) -> "dead";
reply({error, not_found}) -> "missing";
reply({error, Why}) when Why =:= running; Why =:= restarting -> "running";
reply({error, already_present}) -> "exists";
reply({error, {already_started, _}}) -> "exists";
reply({error, _}) -> "failed".

%% Collects until nothing moves and no child is left to be killed for not stopping in time.
observe(S, Lines) ->
    oracle:settle(),
    {Log, Stuck} = ask(S, take),
    Lines1 = Lines ++ [["log ", Line] || Line <- Log],
    case Stuck of
        true -> timer:sleep(1), observe(S, Lines1);
        false -> look(S, Lines1)
    end.

look(S = #{root := Root, trees := Trees}, Lines) ->
    Heard = receive {'EXIT', Root, Reason} -> [["parent hears ", oracle:reason(Reason)]] after 0 -> [] end,
    S1 = case Heard of [] -> S; _ -> S#{root := none} end,
    {S1, Lines ++ Heard ++ lists:append([children(Id, ask(S, {whereis, Id}), S) || Id <- maps:keys(Trees)])}.

children(_, none, _) -> [];
children(Id, Pid, S = #{trees := Trees}) ->
    {Children, Keys} = case map_get(Id, Trees) of
        %% OTP counts the one spec that all share, Tiebeam one for each.
        {#{strategy := simple_one_for_one}, _} ->
            {lists:sort([state(State, S) || {_, State, _, _} <- supervisor:which_children(Pid)]),
             [active, supervisors, workers]};
        %% OTP lists them in reverse, Tiebeam in the order of their start.
        _ ->
            {[[Child, $=, state(State, S)] || {Child, State, _, _} <- lists:reverse(supervisor:which_children(Pid))],
             [specs, active, supervisors, workers]}
    end,
    [["children of ", Id, $\s, oracle:join(Children), $\s, counts(Pid, Keys)]].

counts(Pid, Keys) ->
    Counts = supervisor:count_children(Pid),
    lists:join($/, [integer_to_list(proplists:get_value(Key, Counts)) || Key <- Keys]).

state(Pid, S) when is_pid(Pid) -> ask(S, {name, Pid});
state(undefined, _) -> "stopped";
state(restarting, _) -> "restarting".

ask(#{recorder := Recorder}, Question) -> gen_server:call(Recorder, Question, infinity).

clean_up(S = #{root := Root, recorder := Recorder}) ->
    is_pid(Root) andalso exit(Root, kill),
    oracle:settle(),
    [exit(Pid, kill) || Pid <- ask(S, all)],
    exit(Recorder, kill),
    oracle:settle(),
    process_flag(trap_exit, false),
    flush().

flush() ->
    receive _ -> flush() after 0 -> ok end.

%% ---- The recorder: one process that hears of every start and end, so that their order is known.

record(S = #{log := Log, failing := Failing, lives := Lives, names := Names, current := Current}) ->
    receive
        {'$gen_call', From, {up, Id, Pid}} ->
            case Failing of
                #{Id := {Times, How}} when Times > 0 ->
                    gen_server:reply(From, How),
                    record(S#{log := [["fails ", Id] | Log], failing := Failing#{Id := {Times - 1, How}}});
                _ ->
                    Life = maps:get(Id, Lives, 0) + 1,
                    Name = lists:flatten([Id, $., integer_to_list(Life)]),
                    monitor(process, Pid),
                    gen_server:reply(From, "ok"),
                    record(S#{log := [["up ", Name] | Log], lives := Lives#{Id => Life},
                              names := Names#{Pid => Name}, current := Current#{Id => Pid}})
            end;
        {'$gen_call', From, {starting, Id}} ->
            gen_server:reply(From, ok),
            record(S#{log := [["starting ", Id] | Log]});
        {'$gen_call', From, {terminate, Pid, Reason, Shutdown}} ->
            gen_server:reply(From, ok),
            Line = ["terminate ", map_get(Pid, Names), $\s, oracle:reason(Reason)],
            record(maps:merge(S#{log := [Line | Log]}, maps:from_list([{stuck, Pid} || Shutdown =:= "stuck"])));
        {'$gen_call', From, {fail, Id, Times, How}} ->
            gen_server:reply(From, ok),
            record(S#{failing := Failing#{Id => {Times, How}}});
        {'$gen_call', From, {whereis, Id}} ->
            gen_server:reply(From, maps:get(Id, Current, none)),
            record(S);
        {'$gen_call', From, {last, Id}} ->
            Name = lists:flatten([Id, $., integer_to_list(maps:get(Id, Lives, 0))]),
            gen_server:reply(From, hd([Pid || {Pid, Known} <- maps:to_list(Names), Known =:= Name] ++ [none])),
            record(S);
        {'$gen_call', From, {name, Pid}} ->
            gen_server:reply(From, maps:get(Pid, Names, "unknown")),
            record(S);
        {'$gen_call', From, take} ->
            gen_server:reply(From, {lists:reverse(Log), is_map_key(stuck, S)}),
            record(S#{log := []});
        {'$gen_call', From, all} ->
            gen_server:reply(From, maps:keys(Names)),
            record(S);
        {'DOWN', _, process, Pid, Reason} ->
            Line = ["down ", map_get(Pid, Names), $\s, oracle:reason(Reason)],
            S1 = case S of #{stuck := Pid} -> maps:remove(stuck, S); _ -> S end,
            record(S1#{log := [Line | Log], current := maps:filter(fun(_, Other) -> Other =/= Pid end, Current)})
    end.

%% ---- Supervisors and workers.

start_supervisor(Id, Trees, Recorder) ->
    ok = gen_server:call(Recorder, {starting, Id}, infinity),
    case supervisor:start_link(?MODULE, {supervisor, Id, Trees, Recorder}) of
        {ok, Pid} -> "ok" = gen_server:call(Recorder, {up, Id, Pid}, infinity), {ok, Pid};
        Failed -> Failed
    end.

start_member(Shutdown, Recorder, Id, Trap) ->
    gen_server:start_link(?MODULE, {worker, Id, Trap, Shutdown, Recorder}, []).

init({supervisor, Id, Trees, Recorder}) ->
    {Flags, Children} = map_get(Id, Trees),
    {ok, {Flags, [spec(Child, Trees, Recorder) || Child <- Children]}};
init({worker, Id, Trap, Shutdown, Recorder}) ->
    process_flag(trap_exit, Trap =:= "trap"),
    case gen_server:call(Recorder, {up, Id, self()}, infinity) of
        "ok" -> {ok, {Shutdown, Recorder}};
        "stop" -> {stop, not_yet};
        "ignore" -> ignore;
        "crash" -> error(boom)
    end.

spec({member, Restart, Shutdown}, _, Recorder) ->
    #{id => member, start => {?MODULE, start_member, [Shutdown, Recorder]}, restart => list_to_atom(Restart),
      shutdown => limit(Shutdown)};
spec({supervisor, Id, Restart}, Trees, Recorder) ->
    maps:merge(restart(Restart), #{id => Id, start => {?MODULE, start_supervisor, [Id, Trees, Recorder]},
                                   shutdown => infinity, type => supervisor});
spec({worker, Id, Restart, Trap, Shutdown}, _, Recorder) ->
    maps:merge(restart(Restart), #{id => Id, shutdown => limit(Shutdown),
      start => {gen_server, start_link, [?MODULE, {worker, Id, Trap, Shutdown, Recorder}, []]}}).

restart(Word) ->
    #{restart => list_to_atom(string:trim(Word, trailing, "!")), significant => lists:suffix("!", Word)}.

auto("never") -> never;
auto("any") -> any_significant;
auto("all") -> all_significant.

limit("brutal") -> brutal_kill;
limit("wait") -> infinity;
limit("stuck") -> ?STUCK_MS.

handle_call(_, _, S) -> {noreply, S}.

handle_cast({'end', Reason}, S) -> put(ends, true), {stop, Reason, S};
handle_cast(crash, _) -> put(crashed, true), error(boom).

handle_info(_, S) -> {noreply, S}.

%% Tiebeam doesn't trust the state after a crash and doesn't call terminate. A child that is stuck is so only when its
%% supervisor stops it: else nobody would end it.
terminate(Reason, {Shutdown, Recorder}) ->
    case {get(crashed), get(ends), Shutdown} of
        {true, _, _} -> ok;
        {_, undefined, "stuck"} ->
            gen_server:call(Recorder, {terminate, self(), Reason, "stuck"}, infinity),
            receive after infinity -> ok end;
        _ -> gen_server:call(Recorder, {terminate, self(), Reason, "wait"}, infinity)
    end.
