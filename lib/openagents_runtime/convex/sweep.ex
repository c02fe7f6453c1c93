defmodule OpenAgentsRuntime.Convex.Sweep do
  @moduledoc """
  The sources of the sweep that runs when the sidecar finds that Convex lost or changed documents
  (`:convex_sidecar_sweeper`): every entity of every kind, through the configured event log. Changes that happen
  meanwhile go first, in the VM and in the sidecar, and what is not doubtful is answered `idempotent`.

  It is reported as telemetry (`OpenAgentsRuntime.Convex.Telemetry`).
  """
  @behaviour :convex_sidecar_sweeper

  alias OpenAgentsRuntime.Convex.{EventLog, Kinds, Projector, Telemetry}

  @impl :convex_sidecar_sweeper
  def sources(name) do
    for kind <- Kinds.all(), EventLog.module([]) != nil do
      [{^name, source}] = Projector.sweep_sources([sidecar: name], :sweep)
      {kind, source}
    end
  end

  @impl :convex_sidecar_sweeper
  def told(name, what, info), do: Telemetry.swept(name, what, info)
end
