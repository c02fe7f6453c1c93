defmodule Bench.InVmSink do
  @moduledoc """
  The peer: what a good sink inside the VM costs. It makes the document from the row, encodes it
  with an encoder written for speed (one pass, iodata, no sorting, no hash) and POSTs it with OTP's
  own client over kept connections, one document a call, as the runtime does today.
  """
  alias OpenAgentsRuntime.Convex.Summary

  @profile :bench_in_vm

  def start(sessions) do
    {:ok, _} = Application.ensure_all_started(:inets)
    :inets.start(:httpc, profile: @profile)
    :ok = :httpc.set_options([max_sessions: sessions, max_keep_alive_length: 100_000_000], @profile)
  end

  def stop, do: :inets.stop(:httpc, @profile)

  @doc "Project one entity: row and events -> document -> JSON -> Convex."
  def write(url, kind, id, row, events) do
    last = List.last(events)
    info = %{count: length(events), latest: last}
    row = Map.put(row, :run_id, id)
    summary = Summary.summary(kind, row, info, projection_version: "convex_summary_v1")

    body =
      IO.iodata_to_binary([
        ~S({"path":"runtime:upsertRunSummary","format":"convex_encoded_json","args":[{"document_id":),
        json(summary["document_id"]),
        ~S(,"summary":),
        json(summary),
        "}]}"
      ])

    request = {url, [], ~c"application/json", body}

    {:ok, {{_, 200, _}, _, answer}} = :httpc.request(:post, request, [timeout: 30_000], [body_format: :binary], @profile)

    <<"{\"status\":\"success\"", _::binary>> = answer
    byte_size(body)
  end

  def json(nil), do: "null"
  def json(true), do: "true"
  def json(false), do: "false"
  def json(text) when is_binary(text), do: [?", escape(text, text, 0, 0), ?"]
  def json(int) when is_integer(int), do: Integer.to_string(int)
  def json(float) when is_float(float), do: Float.to_string(float)
  def json(%DateTime{} = t), do: [?", DateTime.to_iso8601(t), ?"]
  def json(atom) when is_atom(atom), do: json(Atom.to_string(atom))
  def json([]), do: "[]"
  def json([first | rest]), do: [?[, json(first), for(v <- rest, do: [?,, json(v)]), ?]]

  def json(map) when is_map(map) do
    case :maps.to_list(map) do
      [] -> "{}"
      [{k, v} | rest] -> [?{, key(k), json(v), for({k, v} <- rest, do: [?,, key(k), json(v)]), ?}]
    end
  end

  defp key(k) when is_atom(k), do: [?", Atom.to_string(k), ~S(":)]
  defp key(k), do: [json(k), ?:]

  # Runs that need no escape are parts of the text itself.
  defp escape(<<c, rest::binary>>, text, from, n) when c >= 0x20 and c != ?" and c != ?\\,
    do: escape(rest, text, from, n + 1)

  defp escape(<<c, rest::binary>>, text, from, n),
    do: [binary_part(text, from, n), escaped(c) | escape(rest, text, from + n + 1, 0)]

  defp escape(<<>>, text, 0, _n), do: text
  defp escape(<<>>, text, from, n), do: binary_part(text, from, n)

  defp escaped(?"), do: ~S(\")
  defp escaped(?\\), do: ~S(\\)
  defp escaped(?\n), do: ~S(\n)
  defp escaped(c), do: ["\\u", c |> Integer.to_string(16) |> String.pad_leading(4, "0")]
end
