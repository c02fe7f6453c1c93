# catch_up.exs: starts the application, whose sidecar looks at every entity once; how long that takes, and what it asks.
entities = String.to_integer(System.fetch_env!("ENTITIES"))
began = System.monotonic_time(:millisecond)
{:ok, _} = Application.ensure_all_started(:my_app)
:ok = :convex_sidecar.await(:convex_sidecar, 60_000)
:ok = :convex_sidecar.settle(:convex_sidecar, 600_000)
took = System.monotonic_time(:millisecond) - began
queries = MyApp.Repo.queries()
IO.puts("#{entities} entities in #{took / 1000} s, #{queries} queries, #{Float.round(queries / entities, 4)} an entity")
# What was kept is delivered before the store is used again.
{:ok, _} = :convex_sidecar.flush(:convex_sidecar, 600_000)
