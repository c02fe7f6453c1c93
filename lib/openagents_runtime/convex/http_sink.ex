defmodule OpenAgentsRuntime.Convex.HttpSink do
  @moduledoc """
  Writes to Convex outside the VM: the document goes to the sidecar, which keeps it on disk and
  sends it.

  As `convex_projection_sink` it makes `OpenAgentsRuntime.Convex.Sidecar` start the program
  with the HTTP sink, configured by `convex_http_sink` (`base_url`, `admin_key`, the two
  mutation paths, `request_timeout_ms`), as in the runtime.

  Options (a call's `:sink_opts`): `:ack` (`:kept`, the default, answers once the document is
  on the sidecar's disk; `:written` once Convex has confirmed it), `:deadline_ms`,
  `:timeout`, `:wait` (see `:convex_sidecar.project/6`) and `:sidecar`, the instance, or a
  list of them (see `OpenAgentsRuntime.Convex.Sidecars`).
  """
  use OpenAgentsRuntime.Convex.Sink

  alias OpenAgentsRuntime.Convex.{BigNumbers, Sidecars}

  @impl true
  def upsert(kind, document_id, summary, opts) do
    request = opts |> Keyword.take([:ack, :deadline_ms, :timeout, :wait]) |> Map.new()
    server = Sidecars.owner_of(document_id, opts)

    case :convex_sidecar.upsert(server, kind, document_id, BigNumbers.sendable(summary), request) do
      {:ok, _result} -> :ok
      {:error, {:sink_write_failed, reason}} -> {:error, reason}
      {:error, reason} -> {:error, reason}
    end
  end
end
