defmodule MyApp.Repo do
  @moduledoc """
  As much of an Ecto.Repo as the pages use, over Debian's p1_pgsql, so that nothing comes from Hex. It counts its queries.
  """
  use Agent

  def start_link(_opts) do
    port = String.to_integer(System.fetch_env!("MY_APP_PG_PORT"))
    options = [host: ~c"127.0.0.1", port: port, user: ~c"test", database: ~c"postgres", as_binary: true]
    {:ok, _} = Application.ensure_all_started(:p1_pgsql)
    [reader, writer] = for _ <- 1..2, do: options |> :pgsql.connect() |> elem(1)
    :persistent_term.put(__MODULE__, {reader, writer, :counters.new(1, [])})
    Agent.start_link(fn -> nil end, name: __MODULE__)
  end

  def query!(sql, params \\ []) do
    {reader, writer, counter} = :persistent_term.get(__MODULE__)
    :counters.add(counter, 1, 1)
    if in_transaction?(), do: unnamed!(writer, sql, params), else: Postgres.query!(reader, sql, params)
  end

  # A name that is not prepared, or is already, would end the transaction.
  defp unnamed!(connection, sql, params) do
    with {:ok, _status, _parameters, _columns} <- :pgsql.prepare(connection, "", sql),
         {:ok, _} = answer <- :pgsql.execute(connection, "", params) do
      answer
    else
      {:error, why} -> raise inspect(why)
    end
  end

  def in_transaction?, do: Process.get(__MODULE__, false)

  def transaction(fun) do
    :global.trans({__MODULE__, self()}, fn ->
      Process.put(__MODULE__, true)

      try do
        query!("BEGIN")
        result = fun.()
        query!("COMMIT")
        {:ok, result}
      rescue
        error ->
          query!("ROLLBACK")
          {:error, error}
      after
        Process.delete(__MODULE__)
      end
    end)
  end

  def queries, do: :counters.get(elem(:persistent_term.get(__MODULE__), 2), 1)
end
