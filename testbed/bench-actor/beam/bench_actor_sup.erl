%% The supervisor of the restart shape: one worker with a name, restarted as often as it is killed.
-module(bench_actor_sup).
-behaviour(supervisor).
-export([init/1]).

init([]) ->
    Worker = #{id => worker, start => {bench_actor, start_worker, []}, restart => permanent, shutdown => brutal_kill},
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [Worker]}}.
