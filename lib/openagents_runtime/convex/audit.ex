defmodule OpenAgentsRuntime.Convex.Audit do
  @moduledoc """
  Compares what Convex holds with what it has confirmed, and repairs what differs.

  The sidecar compares page by page while live writes go on (docs/REBUILD.md,
  "Drift"). It keeps no delivered document, so a repair has two halves: the sidecar clears
  orphans and doubts its checkpoint of every other finding; this module projects these
  entities again from the event log, and each is then written, whatever Convex holds.

  | finding | Convex holds |
  | --- | --- |
  | `missing` | nothing, though it had confirmed the document |
  | `stale` | an older version |
  | `ahead` | a higher seq than it ever confirmed |
  | `altered` | something that is not what its hash says, or not what was written |
  | `orphaned` | a document that the sidecar's store does not know |
  """

  alias OpenAgentsRuntime.Convex.{Kinds, Reprojection, Sidecar}

  @gone ~w(run_not_found worker_not_found entity_not_found)
  @sums ~w(checked missing stale ahead altered orphaned second_look unsettled repaired took_ms)a

  @type finding :: %{
          document_id: String.t(),
          kind: String.t(),
          finding: String.t(),
          seq: integer() | nil,
          convex_seq: integer() | nil,
          repaired: boolean()
        }

  @typedoc """
  The report of an audit. `stopped` is `nil`, or why the audit stopped early; then `next` is the
  document to continue after (`:after`). `unsettled` documents were under way whenever they were
  compared, and are not judged. After a repair, `reprojected` counts the documents written again,
  and `failed` names those that were not: the event log does not have them, or could not be read.
  """
  @type report :: %{
          required(:checked) => non_neg_integer(),
          required(:findings) => [finding()],
          required(:stopped) => String.t() | nil,
          required(:next) => String.t() | nil,
          required(:reprojected) => non_neg_integer(),
          required(:failed) => [%{document_id: String.t(), reason: term()}],
          optional(atom()) => term()
        }

  @doc """
  Audit the documents of a kind, or of all.

    * `:repair` - repair what is found (default: only report it)
    * `:after` - start after this document id
    * `:sidecar`, `:timeout` (two hours), `:wait` - as for the Projector, whose other
      options are passed on to the repair
  """
  @spec audit(atom() | String.t(), keyword()) :: {:ok, report()} | {:error, term()}
  def audit(kind \\ :all, opts \\ []) do
    {own, opts} = Keyword.split(opts, [:repair, :after])
    repair? = Keyword.get(own, :repair, false)
    request = Map.new(Keyword.take(opts, [:timeout, :wait]) ++ [repair: repair?])
    rounds(kind, request, own[:after], opts, nil)
  end

  @doc "The progress of the running audit: `state`, `kind`, `checked`, `findings`, `rate`, `eta_s`."
  @spec status(keyword()) :: {:ok, map()} | {:error, term()}
  def status(opts \\ []), do: :convex_sidecar.audit_status(Sidecar.server(opts))

  @doc "Cancel the running audit; its caller gets what was found so far."
  @spec cancel(keyword()) :: {:ok, :cancelled | :idle} | {:error, term()}
  def cancel(opts \\ []), do: :convex_sidecar.audit_cancel(Sidecar.server(opts))

  # A repair stops when the sidecar's list of findings is full, and continues once these are
  # repaired: nothing may be doubted without being projected again.
  defp rounds(kind, request, next, opts, sum) do
    with {:ok, report} <-
           :convex_sidecar.audit(Sidecar.server(opts), kind, Map.put(request, :after, next)) do
      report = Map.merge(report, mend(request.repair, report.findings, opts))
      sum = add(sum, report)
      full? = request.repair and report.stopped == "the list of findings is full"
      if full?, do: rounds(kind, request, report.next, opts, sum), else: {:ok, sum}
    end
  end

  defp add(nil, report), do: report

  defp add(sum, report) do
    Map.merge(sum, report, fn
      key, a, b when key in @sums or key == :reprojected -> a + b
      key, a, b when key in [:findings, :failed] -> a ++ b
      _key, _a, b -> b
    end)
  end

  defp mend(false, _findings, _opts), do: %{reprojected: 0, failed: []}

  defp mend(true, findings, opts) do
    results = for f <- findings, do: {f.document_id, reproject(f, opts)}

    %{
      reprojected: Enum.count(results, &match?({_id, {:ok, _}}, &1)),
      failed: for({id, {:error, why}} <- results, do: %{document_id: id, reason: reason(why)})
    }
  end

  defp reproject(%{repaired: false}, _opts), do: {:error, :beyond_repair}

  # An entity in the log is an orphan only to a store that was lost, so its document is written again.
  defp reproject(%{finding: "orphaned"} = finding, opts) do
    case rebuild(finding, opts) do
      {:error, %{reason: reason}} when reason in @gone -> :gone
      {:error, :not_of_this_runtime} -> :gone
      other -> other
    end
  end

  defp reproject(finding, opts), do: rebuild(finding, opts)

  defp rebuild(finding, opts) do
    opts = opts |> Keyword.delete(:timeout) |> Keyword.merge(clear: false)

    case Kinds.find(finding.kind) do
      %{name: kind, prefix: prefix} ->
        Reprojection.rebuild(kind, String.replace_prefix(finding.document_id, prefix, ""), opts)

      nil ->
        {:error, :not_of_this_runtime}
    end
  end

  defp reason(%{reason: reason}), do: reason
  defp reason(reason), do: reason
end
