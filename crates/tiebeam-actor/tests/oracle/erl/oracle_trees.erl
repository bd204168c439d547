-module(oracle_trees).
-export([run/1]).
run(_) -> [].
