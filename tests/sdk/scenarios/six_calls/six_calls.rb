# Six calls with the Ruby client of openapi-generator.
require 'json'
require 'openapi_client'

def create_client(token = nil)
  settings = OpenapiClient::Configuration.new
  settings.host = ENV.fetch('SERVICE_URL').delete_prefix('http://')
  settings.scheme = 'http'
  settings.access_token = token
  OpenapiClient::ApiClient.new(settings)
end

tokens = OpenapiClient::SessionsApi.new(create_client).create_token(
  'password', username: ENV.fetch('SERVICE_USER'), password: ENV.fetch('SERVICE_PASSWORD')
)
todos = OpenapiClient::TodosApi.new(create_client(tokens.access_token))

due = DateTime.new(2027, 1, 31, 9)
created = ['Water the plants', 'Buy seeds', 'Rake the leaves'].map do |title|
  todos.create_todo(OpenapiClient::TodoCreate.new(title: title, due_at: due)).title
end

first = todos.list_todos(sort: 'created_at', limit: 2)
second = todos.list_todos(sort: 'created_at', limit: 2, cursor: first.next_cursor)

id = first.items[0].id
begin
  todos.update_todo(id, OpenapiClient::TodoUpdate.new(title: 'Water all the plants'), if_match: '"99"')
rescue OpenapiClient::ApiError => e
  stale = [e.code, JSON.parse(e.response_body)['type']]
end

cleared = todos.update_todo(id, OpenapiClient::TodoUpdate.new(due_at: nil))

files = %w[csv json ics].to_h { |format| [format, File.read(todos.export_todos(format: format))] }
unchanged = files.to_h { |format, content| [format, todos.import_todos(content, format: format).unchanged] }

puts JSON.generate(
  'signed in' => tokens.token_type,
  'created' => created,
  'pages' => [first.items.length, second.items.length],
  'stale' => stale,
  'cleared' => [cleared.title, cleared.due_at.nil?],
  'files' => files,
  'unchanged' => unchanged
)
