defmodule OpenAgentsRuntime.Convex.Kinds do
  @moduledoc """
  The kinds of documents, as data: the runtime's own, and yours.

  The runtime's own are in `priv/kinds.ini`, which is also compiled into the C program. A kind
  of your own is one configuration entry with the same keys:

      config :openagents_runtime,
        convex_kinds: [
          invoice_summary: [
            prefix: "billing/invoice:",
            entity: "invoice",
            id_field: "invoice_id",
            mutation: "runtime:upsertInvoiceSummary",
            fields: "status amount metadata:map"
          ]
        ]

  | key | means |
  | --- | --- |
  | `prefix` | what the document id begins with; the entity's id comes after it |
  | `entity` | `runtime_source.entity`, and the scope that rebuilds report |
  | `id_field` | the name of the entity's id, in rows and documents |
  | `mutation` | the function that writes one document; called only if `[sink] batch_mutation` is empty |
  | `fields` | the columns of the row that the document copies; `name:map` becomes `{}` if it is absent |
  | `min_interval_ms` | optional, 0 to 60,000: the minimum interval between two writes of one document to Convex, instead of `[delivery] min_interval_ms` |

  This one entry configures a managed sidecar (as its section `[kind.invoice_summary]`) and all of
  this VM: `Projector.project/3` and `project_async/3`, the catch-up after a start, rebuilds,
  audit and repair, export, `Sidecars`, `DiskEventLog`, the mix tasks. The event log must then
  serve that kind too. An entry named like one of the runtime's kinds overrides the keys it gives
  (`codex_worker_summary: [min_interval_ms: 1000]`: heartbeats are written once a second). An
  external sidecar needs the same section in its own file.

  An invalid entry raises an `ArgumentError` that says what is wrong, and keeps
  `OpenAgentsRuntime.Convex.Sidecar` from starting.
  """

  @type t :: %{
          name: atom(),
          prefix: String.t(),
          entity: String.t(),
          id_field: atom(),
          mutation: String.t(),
          # the document's columns; in those named in `maps`, nil becomes %{}
          fields: [atom()],
          maps: [atom()],
          # the columns of a row that a document needs, as atoms and as strings
          columns: [atom() | String.t()]
        }

  @required ~w(prefix entity id_field mutation fields)
  @keys @required ++ ~w(min_interval_ms)
  @max_interval_ms 60_000
  @name ~r/\A[A-Za-z_][A-Za-z0-9_]{0,62}\z/

  # [{kind, %{key => value}}] of priv/kinds.ini, whose lines tools/kinds.awk has checked for C.
  @ini Path.expand("../../../priv/kinds.ini", __DIR__)
  @external_resource @ini
  @own @ini
       |> File.read!()
       |> String.split("\n", trim: true)
       |> Enum.reject(&String.starts_with?(&1, ";"))
       |> Enum.reduce([], fn
         "[kind." <> rest, kinds ->
           [{String.trim_trailing(rest, "]"), %{}} | kinds]

         line, [{name, keys} | kinds] ->
           [key, value] = String.split(line, " = ", parts: 2)
           [{name, Map.put(keys, key, value)} | kinds]
       end)
       |> Enum.reverse()

  @doc "The names of all kinds: the runtime's own, then those of the configuration."
  @spec all() :: [atom()]
  def all, do: elem(table(), 0)

  @doc "The kind of that name, an atom or a string; `nil` if there is none."
  @spec find(atom() | String.t()) :: t() | nil
  def find(name) when is_atom(name), do: Map.get(elem(table(), 1), name)

  def find(name) do
    {names, kinds} = table()

    with found when found != nil <- Enum.find(names, &(Atom.to_string(&1) == name)),
         do: kinds[found]
  end

  @doc "The kind of that name; raises `ArgumentError` if there is none."
  @spec fetch!(atom()) :: t()
  def fetch!(name) do
    find(name) ||
      raise ArgumentError,
            "there is no kind #{inspect(name)}, only #{Enum.map_join(all(), ", ", &inspect/1)}; name it in " <>
              "config :openagents_runtime, convex_kinds: [...] (see #{inspect(__MODULE__)})"
  end

  @doc "Whether the configured kinds are valid; if not, why, in the form of an option error."
  @spec check() :: :ok | {:error, {:bad_option, :convex_kinds, String.t()}}
  def check do
    _ = table()
    :ok
  rescue
    e in ArgumentError -> {:error, {:bad_option, :convex_kinds, e.message}}
  end

  @doc "The configured kinds as sections of the sidecar's configuration."
  @spec sections() :: [{String.t(), %{String.t() => String.t()}}]
  def sections, do: for({name, keys} <- read(given()), do: {"kind." <> name, keys})

  # ---- the table: the names in order, and the kinds by name; built once for each configuration

  defp table do
    given = given()

    case :persistent_term.get(__MODULE__, nil) do
      {^given, table} ->
        table

      _none_or_of_before ->
        table = build(read(given))
        :persistent_term.put(__MODULE__, {given, table})
        table
    end
  end

  defp given, do: Application.get_env(:openagents_runtime, :convex_kinds) || []

  defp build(configured) do
    kinds =
      configured
      |> Enum.reduce(@own, fn {name, keys}, kinds ->
        {_name, own} = List.keyfind(kinds, name, 0, {name, %{}})
        List.keystore(kinds, name, 0, {name, Map.merge(own, keys)})
      end)
      |> Enum.map(fn {name, keys} -> kind(name, keys) end)

    {Enum.map(kinds, & &1.name), Map.new(kinds, &{&1.name, &1})}
  end

  defp kind(name, keys) do
    for key <- @required, not is_map_key(keys, key), do: bad(name, "has no #{key}")
    fields = for word <- String.split(keys["fields"]), do: field(name, word)
    id_field = String.to_atom(keys["id_field"])
    atoms = [id_field, :latest_seq | for({column, _map?} <- fields, do: column)]

    %{
      name: String.to_atom(name),
      prefix: keys["prefix"],
      entity: keys["entity"],
      id_field: id_field,
      mutation: keys["mutation"],
      fields: for({column, _map?} <- fields, do: column),
      maps: for({column, true} <- fields, do: column),
      columns: atoms ++ Enum.map(atoms, &Atom.to_string/1)
    }
  end

  defp field(name, word) do
    {column, map?} =
      case String.split(word, ":", parts: 2) do
        [column] -> {column, false}
        [column, "map"] -> {column, true}
        _ -> bad(name, "fields: #{inspect(word)} is neither NAME nor NAME:map")
      end

    if column =~ @name,
      do: {String.to_atom(column), map?},
      else: bad(name, "fields: #{inspect(word)} is no name")
  end

  # ---- the configuration, as strings

  defp read(given) do
    pairs(given, "convex_kinds must be a list of NAME: [prefix: ..., ...]")
    |> Enum.map(fn {name, keys} ->
      name = to_string(name)
      name =~ @name || bad(name, "a name is 1 to 63 letters, digits and _, no digit first")

      String.starts_with?(name, "_") &&
        bad(name, "names that begin with _ are the functions' own: marks and controls")

      keys = pairs(keys, "convex_kinds: #{name} must be a list of #{Enum.join(@keys, ", ")}")
      {name, Map.new(keys, fn {key, value} -> text(name, to_string(key), value) end)}
    end)
  end

  defp pairs(given, wanted) do
    given = if is_map(given), do: Map.to_list(given), else: given
    named? = &match?({name, _} when is_atom(name) or is_binary(name), &1)
    if is_list(given) and Enum.all?(given, named?), do: given, else: raise(ArgumentError, wanted)
  end

  defp text(name, "min_interval_ms" = key, value) do
    case Integer.parse(to_string(value)) do
      {ms, ""} when ms in 0..@max_interval_ms -> {key, Integer.to_string(ms)}
      _ -> bad(name, "#{key} must be a number from 0 to #{@max_interval_ms}, is #{inspect(value)}")
    end
  end

  defp text(name, key, value) do
    key in @keys || bad(name, "#{key} is no key of a kind: they are #{Enum.join(@keys, ", ")}")
    is_binary(value) || bad(name, "#{key} must be text, is #{inspect(value)}")
    {key, value}
  end

  @spec bad(String.t(), String.t()) :: no_return()
  defp bad(name, why), do: raise(ArgumentError, "convex_kinds: #{name}: #{why}")
end
