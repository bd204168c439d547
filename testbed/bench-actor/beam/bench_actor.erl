%% The shapes on BEAM, beside which the benchmark measures. `main` runs one of them and prints one number.
%% Callers and senders are processes; what is called or cast to is a gen_server, the rest are plain processes.
-module(bench_actor).
-behaviour(gen_server).
-export([main/4, start_worker/0, skynet/3]).
-export([init/1, handle_call/3, handle_cast/2]).

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
    Took / (Each * Senders).

init(State) -> {ok, State}.

handle_call(get, _From, State) -> {reply, State, State}.

handle_cast(inc, State) -> {noreply, State + 1};
handle_cast({done, Pid}, State) -> Pid ! {counted, State}, {noreply, State}.

start_worker() -> error(not_written).
skynet(_, _, _) -> error(not_written).

took(Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Fun(),
    erlang:monotonic_time(nanosecond) - Start.

times(0, _) -> ok;
times(N, Fun) -> Fun(), times(N - 1, Fun).

finish(Pid) -> unlink(Pid), exit(Pid, kill).
