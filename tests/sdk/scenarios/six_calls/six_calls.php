<?php
// Six calls with the PHP client of openapi-generator.
require '/usr/share/php/GuzzleHttp/autoload.php';
spl_autoload_register(function (string $name): void {
    require 'client/lib/' . str_replace(['OpenAPI\\Client\\', '\\'], ['', '/'], $name) . '.php';
});

use OpenAPI\Client\Api\SessionsApi;
use OpenAPI\Client\Api\TodosApi;
use OpenAPI\Client\ApiException;
use OpenAPI\Client\Configuration;
use OpenAPI\Client\Model\TodoCreate;
use OpenAPI\Client\Model\TodoUpdate;

$settings = (new Configuration())->setHost(getenv('SERVICE_URL'));
$http = new GuzzleHttp\Client();
$tokens = (new SessionsApi($http, $settings))->createToken(
    'password', getenv('SERVICE_USER'), getenv('SERVICE_PASSWORD'));
$settings->setAccessToken($tokens->getAccessToken());
$todos = new TodosApi($http, $settings);

$due = new DateTime('2027-01-31T09:00:00Z');
$created = [];
foreach (['Water the plants', 'Buy seeds', 'Rake the leaves'] as $title) {
    $created[] = $todos->createTodo(new TodoCreate(['title' => $title, 'due_at' => $due]))->getTitle();
}

$first = $todos->listTodos(sort: 'created_at', limit: 2);
$second = $todos->listTodos(sort: 'created_at', limit: 2, cursor: $first->getNextCursor());

$id = $first->getItems()[0]->getId();
try {
    $todos->updateTodo($id, new TodoUpdate(['title' => 'Water all the plants']), '"99"');
} catch (ApiException $error) {
    $stale = [$error->getCode(), $error->getResponseObject()->getType()];
}

$cleared = $todos->updateTodo($id, (new TodoUpdate())->setDueAt(null));

$files = [];
$unchanged = [];
foreach (['csv', 'json', 'ics'] as $format) {
    $files[$format] = file_get_contents($todos->exportTodos($format)->getPathname());
    $report = $todos->importTodos($files[$format], $format, contentType: 'text/csv');
    $unchanged[$format] = $report->getUnchanged();
}

echo json_encode([
    'signed in' => $tokens->getTokenType(),
    'created' => $created,
    'pages' => [count($first->getItems()), count($second->getItems())],
    'stale' => $stale,
    'cleared' => [$cleared->getTitle(), $cleared->getDueAt() === null],
    'files' => $files,
    'unchanged' => $unchanged,
]), "\n";
