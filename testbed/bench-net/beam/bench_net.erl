%% The shapes on two BEAM nodes, beside which the benchmark measures. `main` runs one of them on the first node and prints
%% one number; `second` is the other node. Callers and senders are processes; what is called or cast to is a gen_server.
-module(bench_net).
-behaviour(gen_server).
-export([main/5, second/0, idle/1]).
-export([init/1, handle_call/3, handle_cast/2]).

%% All as in shape.rs.
-define(CALLERS, 64).
-define(WATCHED, 1000).
-define(FLOOD_LEAD_MS, 500).
-define(PINGS_MS, 10000).

%% Ends with the first node, or if that never comes.
second() ->
    spawn(fun() ->
        ok = net_kernel:monitor_nodes(true),
        receive {nodeup, _} -> ok after 60000 -> halt(1) end,
        receive {nodedown, _} -> halt(0) end
    end).

%% Does `WarmUp` of the work first, if any, then `Count` of it with the watch.
main(Shape, Count, Bytes, WarmUp, Node) ->
    Work = fun() ->
        connect(Node, 200),
        Body = binary:copy(<<7>>, Bytes),
        [run(Shape, WarmUp, Body, Node) || WarmUp > 0],
        exit({value, run(Shape, Count, Body, Node)})
    end,
    {Pid, Monitor} = spawn_monitor(Work),
    receive
        {'DOWN', Monitor, process, Pid, {value, Value}} -> io:format("~.2f~n", [float(Value)]), halt(0);
        {'DOWN', Monitor, process, Pid, Reason} -> io:format("~p~n", [Reason]), halt(1)
    end.

connect(Node, 0) ->
    exit({not_connected, Node});
connect(Node, Tries) ->
    case net_adm:ping(Node) of
        pong -> ok;
        pang -> timer:sleep(100), connect(Node, Tries - 1)
    end.

run(call_rtt, N, _, Node) ->
    Server = server(Node),
    took_us(fun() -> times(N, fun() -> 0 = gen_server:call(Server, get) end) end) / N;
run(callers_64, N, _, Node) ->
    Server = server(Node),
    Driver = self(),
    Each = N div ?CALLERS,
    Call = fun() -> times(Each, fun() -> 0 = gen_server:call(Server, get) end), Driver ! {done, self()} end,
    Took = took_us(fun() ->
        Pids = [spawn_link(Call) || _ <- lists:seq(1, ?CALLERS)],
        [receive {done, Pid} -> ok end || Pid <- Pids]
    end),
    Took / (Each * ?CALLERS);
run(cast_100b, N, Body, Node) ->
    cast_us(N, Body, Node) / N;
run(cast_64kib, N, Body, Node) ->
    N * byte_size(Body) / cast_us(N, Body, Node);
run(ping_idle, N, _, Node) ->
    p99_us(N, server(Node));
run(ping_in_flood, N, Body, Node) ->
    {Pinged, Flooded} = {server(Node), server(Node)},
    spawn_link(fun() -> flood(Flooded, Body) end),
    timer:sleep(?FLOOD_LEAD_MS),
    p99_us(N, Pinged);
run(monitors_100k, N, _, Node) ->
    Servers = erpc:call(Node, ?MODULE, idle, [?WATCHED]),
    Driver = self(),
    Watch = fun() ->
        Monitors = [monitor(process, Server) || Server <- Servers],
        Driver ! {ready, self()},
        [receive {'DOWN', Monitor, process, _, noconnection} -> ok end || Monitor <- Monitors],
        Driver ! {fired, self()}
    end,
    Pids = [spawn_link(Watch) || _ <- lists:seq(1, N div ?WATCHED)],
    [receive {ready, Pid} -> ok end || Pid <- Pids],
    %% All signals to a node take one connection, so this answer tells that the monitors are there.
    Process = erpc:call(Node, os, getpid, []),
    Took = took_us(fun() ->
        os:cmd("kill -9 " ++ Process),
        [receive {fired, Pid} -> ok end || Pid <- Pids]
    end),
    Took / 1000.

cast_us(N, Body, Node) ->
    Server = server(Node),
    took_us(fun() ->
        times(N, fun() -> gen_server:cast(Server, Body) end),
        N = gen_server:call(Server, get, infinity)
    end).

flood(Server, Body) -> gen_server:cast(Server, Body), flood(Server, Body).

%% Returns within how many microseconds 99% of the calls were answered. When the time of all is over, the one that then waits
%% counts with how long it has waited. A process of its own calls: it can be suspended for ever, and its timeouts with it.
p99_us(N, Server) ->
    Driver = self(),
    Call = fun() -> Driver ! {took, took_us(fun() -> 0 = gen_server:call(Server, get, infinity) end)} end,
    Caller = spawn_link(fun() -> times(N, Call) end),
    Start = erlang:monotonic_time(millisecond),
    Took = lists:sort(pings(N, Start + ?PINGS_MS, Start)),
    unlink(Caller),
    exit(Caller, kill),
    lists:nth(length(Took) * 99 div 100 + 1, Took).

pings(0, _, _) ->
    [];
pings(N, End, Last) ->
    receive
        {took, Took} -> [Took | pings(N - 1, End, erlang:monotonic_time(millisecond))]
    after max(0, End - erlang:monotonic_time(millisecond)) ->
        [(End - Last) * 1000]
    end.

server(Node) -> {ok, Server} = erpc:call(Node, gen_server, start, [?MODULE, 0, []]), Server.

idle(N) -> [begin {ok, Pid} = gen_server:start(?MODULE, 0, []), Pid end || _ <- lists:seq(1, N)].

init(State) -> {ok, State}.

handle_call(get, _From, State) -> {reply, State, State}.

handle_cast(_Body, State) -> {noreply, State + 1}.

took_us(Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Fun(),
    (erlang:monotonic_time(nanosecond) - Start) / 1000.

times(0, _) -> ok;
times(N, Fun) -> Fun(), times(N - 1, Fun).
