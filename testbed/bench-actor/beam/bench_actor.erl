%% The shapes on BEAM, beside which the benchmark measures. `main` runs one of them and prints one number.
%% Callers and senders are processes; what is called or cast to is a gen_server, the rest are plain processes.
-module(bench_actor).
-behaviour(gen_server).
-export([main/4, start_worker/0, node/3]).
-export([init/1, handle_call/3, handle_cast/2]).

%% Both as in shape.rs.
-define(FLOODERS, 1000).
-define(FLOOD_MESSAGES, 10).

%% Does `WarmUp` of the work first, if any, then `Count` of it with the watch.
main(Shape, Count, Senders, WarmUp) ->
    Work = fun() ->
        [run(Shape, WarmUp, Senders) || WarmUp > 0],
        exit({value, run(Shape, Count, Senders)})
    end,
    {Pid, Monitor} = spawn_monitor(Work),
    receive
        {'DOWN', Monitor, process, Pid, {value, Value}} -> io:format("~.2f~n", [float(Value)]), halt(0);
        {'DOWN', Monitor, process, Pid, Reason} -> io:format("~p~n", [Reason]), halt(1)
    end.

run(call_rtt, N, _) ->
    {ok, Server} = gen_server:start_link(?MODULE, 7, []),
    Took = took(fun() -> times(N, fun() -> 7 = gen_server:call(Server, get) end) end),
    finish(Server),
    Took / N;
run(Cast, N, Senders) when Cast =:= cast_1to1; Cast =:= cast_8to1 ->
    {ok, Server} = gen_server:start_link(?MODULE, 0, []),
    Driver = self(),
    Each = N div Senders,
    Send = fun() -> times(Each, fun() -> gen_server:cast(Server, inc) end), Driver ! {sent, self()} end,
    Took = took(fun() ->
        Pids = [spawn_link(Send) || _ <- lists:seq(1, Senders)],
        [receive {sent, Pid} -> ok end || Pid <- Pids],
        gen_server:cast(Server, {done, Driver}),
        Counted = Each * Senders,
        receive {counted, Counted} -> ok end
    end),
    finish(Server),
    Took / (Each * Senders);
run(pairs_100, N, Pairs) ->
    Driver = self(),
    Each = N div Pairs,
    Took = took(fun() ->
        Drains = [spawn_link(fun() -> drain(Each, Driver) end) || _ <- lists:seq(1, Pairs)],
        [spawn_link(fun() -> times(Each, fun() -> Drain ! {item, 1} end) end) || Drain <- Drains],
        [receive {drained, Drain} -> ok end || Drain <- Drains]
    end),
    Took / (Each * Pairs);
run(spawn_stop, N, _) ->
    Parent = self(),
    Took = took(fun() -> times(N, fun() -> spawn(fun() -> Parent ! hello end), receive hello -> ok end end) end),
    Took / N;
run(ring_1000, Hops, _) ->
    Chain = fun(_, Next) -> spawn_link(fun() -> member(Next) end) end,
    Next = lists:foldl(Chain, self(), lists:seq(1, 1000)),
    Took = took(fun() -> Next ! Hops, head(Next) end),
    finish(Next),
    Took / Hops;
run(skynet_1m, Leaves, _) ->
    Root = self(),
    Sum = Leaves * (Leaves - 1) div 2,
    Took = took(fun() -> spawn(?MODULE, node, [0, Leaves, Root]), receive Sum -> ok end end),
    Took / 1000000;
run(idle_bytes, N, _) ->
    %% What BEAM itself counts for processes: resident memory would hold what its allocators keep in reserve as well.
    erlang:garbage_collect(),
    Before = erlang:memory(processes),
    Pids = [begin {ok, Pid} = gen_server:start(?MODULE, 0, []), Pid end || _ <- lists:seq(1, N)],
    Bytes = erlang:memory(processes) - Before,
    Bytes / length(Pids);
run(restart, N, _) ->
    {ok, Supervisor} = supervisor:start_link(bench_actor_sup, []),
    Took = took(fun() -> times(N, fun() -> Pid = whereis(worker), exit(Pid, kill), wait_for_other(Pid) end) end),
    unlink(Supervisor),
    Monitor = monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, Supervisor, _} -> ok end,
    Took / N;
run(ticker_p99, Ticks, _) ->
    Pids = list_to_tuple([spawn_link(fun flooder/0) || _ <- lists:seq(1, ?FLOODERS)]),
    [Pid ! {others, Pids} || Pid <- tuple_to_list(Pids)],
    [element(N, Pids) ! {flood, N * ?FLOOD_MESSAGES + M}
        || N <- lists:seq(1, ?FLOODERS), M <- lists:seq(0, ?FLOOD_MESSAGES - 1)],
    Start = erlang:monotonic_time(millisecond),
    Late = lists:sort(tick(Start + 1, Ticks, [])),
    (lists:nth(Ticks * 99 div 100 + 1, Late) - hd(Late)) / 1000.

drain(0, Driver) -> Driver ! {drained, self()};
drain(N, Driver) -> receive {item, _} -> drain(N - 1, Driver) end.

member(Next) -> receive Left -> Next ! Left - 1, member(Next) end.

head(Next) ->
    receive
        Left when Left =< 0 -> ok;
        Left -> Next ! Left - 1, head(Next)
    end.

%% A leaf sends its number up and ends; an inner process sends up the sum of ten.
node(First, 1, Parent) ->
    Parent ! First;
node(First, Leaves, Parent) ->
    Each = Leaves div 10,
    [spawn(?MODULE, node, [First + Child * Each, Each, self()]) || Child <- lists:seq(0, 9)],
    Parent ! sum(10, 0).

sum(0, Sum) -> Sum;
sum(N, Sum) -> receive Part -> sum(N - 1, Sum + Part) end.

start_worker() ->
    Work = fun() ->
        register(worker, self()),
        proc_lib:init_ack({ok, self()}),
        receive stop -> ok end
    end,
    proc_lib:start_link(erlang, apply, [Work, []]).

wait_for_other(Old) ->
    case whereis(worker) of
        undefined -> wait_for_other(Old);
        Old -> wait_for_other(Old);
        _ -> ok
    end.

flooder() -> receive {others, Pids} -> flooder(Pids) end.

%% Passes each message on to another flooder, whom the message's seed names.
flooder(Pids) ->
    receive
        {flood, Seed} ->
            Next = Seed * 16807 rem 2147483647,
            element(Next rem ?FLOODERS + 1, Pids) ! {flood, Next},
            flooder(Pids)
    end.

%% Returns by how many nanoseconds each tick came late. Those that the ticker slept through were late as well.
tick(_, 0, Late) ->
    Late;
tick(Due, Left, Late) ->
    erlang:start_timer(Due, self(), tick, [{abs, true}]),
    receive {timeout, _, tick} -> ok end,
    Now = erlang:monotonic_time(nanosecond),
    Missed = min(Left, Now div 1000000 - Due + 1),
    tick(Due + Missed, Left - Missed, [Now - (Due + N) * 1000000 || N <- lists:seq(0, Missed - 1)] ++ Late).

init(State) -> {ok, State}.

handle_call(get, _From, State) -> {reply, State, State}.

handle_cast(inc, State) -> {noreply, State + 1};
handle_cast({done, Pid}, State) -> Pid ! {counted, State}, {noreply, State}.

took(Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Fun(),
    erlang:monotonic_time(nanosecond) - Start.

times(0, _) -> ok;
times(N, Fun) -> Fun(), times(N - 1, Fun).

finish(Pid) -> unlink(Pid), exit(Pid, kill).
