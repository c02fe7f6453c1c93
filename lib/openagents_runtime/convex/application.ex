defmodule OpenAgentsRuntime.Convex.Application do
  @moduledoc false
  # What runs without a sidecar: the queue of sinks that are called in this VM. Sidecars are
  # started by the runtime, under a supervisor of its own (OpenAgentsRuntime.Convex.Sidecar).
  use Application

  alias OpenAgentsRuntime.Convex.{OwnModules, Sidecars, SinkCheckpoints, SinkQueue}

  @impl true
  def start(_type, _args) do
    with :ok <- OwnModules.check() do
      SinkCheckpoints.open()

      Supervisor.start_link([SinkQueue],
        strategy: :one_for_one,
        name: OpenAgentsRuntime.Convex.Supervisor
      )
    end
  end

  @impl true
  def stop(_state), do: Sidecars.forget()
end
