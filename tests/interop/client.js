// Calls a segidx server with nothing but its .proto files and prints what it was told as one line of JSON.
// Usage: node client.js HOST:PORT PROTO_ROOT
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
// The protobufjs that proto-loader uses. It stops at 100 messages, one in the other; an expression of 64 levels has 130.
const protobuf = require(require.resolve('protobufjs', { paths: [require.resolve('@grpc/proto-loader')] }));
protobuf.util.recursionLimit = 160;

const [address, root] = process.argv.slice(2);
const definition = loader.loadSync(
  ['counts', 'contacts', 'ingest', 'accounts', 'schema'].map((name) => path.join('segidx', 'v1', `${name}.proto`)),
  { includeDirs: [root], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
);
const { segidx } = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure();
const counts = new segidx.v1.CountService(address, credentials);
const contacts = new segidx.v1.ContactService(address, credentials);
const ingest = new segidx.v1.IngestService(address, credentials);
const schemas = new segidx.v1.SchemaService(address, credentials);

const ACCOUNT = 'accounts/default';

/** Calls a unary method; resolves to { response } or { error }. `seconds` is the deadline. */
function call(client, method, request, seconds = 60) {
  const deadline = new Date(Date.now() + seconds * 1000);
  return new Promise((resolve) => {
    client[method](request, { deadline }, (error, response) => resolve(error ? { error } : { response }));
  });
}

const RPC_TYPES = protobuf.parse(`syntax = "proto3"; package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`).root;

/** The ErrorInfo of a failed call. */
function errorInfo(error) {
  const status = RPC_TYPES.lookupType('google.rpc.Status').decode(error.metadata.get('grpc-status-details-bin')[0]);
  const type = RPC_TYPES.lookupType('google.rpc.ErrorInfo');
  return type.toObject(type.decode(status.details[0].value));
}

const is = (field, value) => ({
  comparison: {
    left: { field },
    operator: 'COMPARISON_OPERATOR_EQUAL',
    right: { constant: { string_value: value } },
  },
});

/** `levels` conjunctions, one in the other, around a leaf. */
function nested(levels, leaf) {
  let node = leaf;
  for (let i = 1; i < levels; i += 1) node = { conjunction: { operands: [node] } };
  return node;
}

async function main() {
  const told = {};
  const row = (id, country) => ({ contact_id: id, fields: { country: { string_value: country } } });
  const rows = [row('node-1', 'FR'), row('node-2', 'FR'), row('node-3', 'ES')];
  rows.push({ contact_id: 'node-4', fields: { contry: { string_value: 'FR' } } });
  const written = (await call(contacts, 'UpsertContacts', { account: ACCOUNT, contacts: rows })).response;
  told.accepted = written.accepted;
  told.rejects = written.rejects.map((reject) => [reject.index, reject.field, reject.reason]);

  const count = (request, seconds) => call(counts, 'CountContacts', { account: ACCOUNT, ...request }, seconds);
  told.text = (await count({ text: 'country = "FR"' })).response.count;
  const either = { disjunction: { operands: [is('country', 'FR'), is('country', 'ES')] } };
  const tree = { conjunction: { operands: [either, { negation: is('country', 'ES') }] } };
  const counted = (await count({ expression: tree })).response;
  told.tree = counted.count;
  told.generation = counted.generation;
  told.evaluated = Number.isInteger(counted.evaluated_at.seconds) && counted.evaluated_at.seconds > 0;

  const paid = { comparison: { left: { field: 'paid' }, operator: 'COMPARISON_OPERATOR_EQUAL' } };
  paid.comparison.right = { constant: { bool_value: true } };
  const events = { type: 'order', where: paid };
  const inFrance = (node) => ({ conjunction: { operands: [is('country', 'FR'), node] } });
  told.bought = [];
  for (const node of [{ did: { events } }, { never: { events } }]) {
    told.bought.push((await count({ expression: inFrance(node) })).response.count);
  }

  const wrong = { conjunction: { operands: [{ everyone: {} }, is('contry', 'FR')] } };
  const refused = (await count({ expression: wrong })).error;
  told.refused = { code: grpc.status[refused.code], ...errorInfo(refused) };

  const skipping = { conjunction: { operands: [is('country', 'FR'), {}] } };
  const skipped = (await count({ expression: skipping, allow_unfinished: true })).response;
  told.skipped = [skipped.count, skipped.skipped_nodes];

  told.deepest = (await count({ expression: nested(64, is('country', 'FR')) })).response.count;
  const deeper = (await count({ expression: nested(65, is('country', 'FR')) })).error;
  told.deeper = errorInfo(deeper).reason;

  told.late = grpc.status[(await count({ text: 'everyone' }, -1)).error.code];

  const stream = await new Promise((resolve) => {
    const sink = contacts.StreamUpsertContacts((error, response) => resolve(error ? { error } : { response }));
    sink.write({ account: ACCOUNT, contacts: [row('node-5', 'FR')] });
    sink.write({ contacts: [row('node-6', 'FR')] });
    sink.end();
  });
  told.stream = [stream.response.batches, stream.response.accepted];
  told.contact = (
    await call(contacts, 'GetContact', { account: ACCOUNT, contact_id: 'node-6' })
  ).response.contact.fields.country.string_value;

  const write = { contact_id: 'node-7', fields: { country: { string_value: 'IT' } }, tags: [{ add: ['vip'] }] };
  write.channels = [{ channel: 'CHANNEL_EMAIL', flag: 'CHANNEL_FLAG_CONSENT', value: true }];
  const batch = { account: ACCOUNT, batch_key: 'node', rows: [write, { contact_id: 'nobody', must_exist: true }] };
  const first = (await call(ingest, 'WriteBatch', batch)).response;
  const again = (await call(ingest, 'WriteBatch', batch)).response;
  told.batch = [first.accepted, first.rejects[0].reason, first.replayed, again.replayed];
  told.mine = (await count({ text: 'country = "IT" and tags has "vip"', min_generation: first.generation })).response.count;
  told.acknowledged = await new Promise((resolve) => {
    const acknowledged = [];
    const pipe = ingest.StreamWrites();
    pipe.on('data', (response) => acknowledged.push([response.sequence, response.accepted]));
    pipe.on('end', () => resolve(acknowledged));
    pipe.on('error', resolve);
    pipe.write({ account: ACCOUNT, sequence: 1, rows: [row('node-8', 'IT')] });
    pipe.write({ sequence: 2, rows: [row('node-9', 'IT'), row('node-10', 'IT')] });
    pipe.end();
  });

  const declared = (
    await call(schemas, 'DeclareEventTypes', {
      account: ACCOUNT,
      event_types: [{ name: 'download', properties: [{ name: 'price', type: 'FIELD_TYPE_NUMBER' }] }],
    })
  ).response.event_types.at(-1);
  told.declared = [declared.name, declared.built_in, declared.properties[0].type];
  const time = { seconds: 1767225600, nanos: 5000000 };
  const download = (id, properties, revision) => ({
    event: { type: 'download', event_id: id, contact_id: 'node-11', time, properties, ...revision },
  });
  const behaved = (
    await call(ingest, 'WriteBatch', {
      account: ACCOUNT,
      events: [
        download('d1', { price: { decimal_value: '1.50' } }),
        download('d2', { price: { decimal_value: '1.505' } }),
        download('d3', {}, { revision: 7 }),
        { retraction: { type: 'download', event_id: 'd3', revision: 7 } },
        { order: { order_id: 'o1', contact_id: 'node-11', time, lines: [{ product: 'P', unit_price: '2' }] } },
      ],
    })
  ).response;
  told.behaved = [behaved.created, behaved.events_accepted, behaved.events_duplicates];
  told.refusedEvents = behaved.event_rejects.map((reject) => [reject.index, reject.field]);
  const did = 'sum(download.price) = 1.5 and count(download) = 1 and did(line where amount = 2)';
  told.did = (await count({ text: did, min_generation: behaved.generation })).response.count;
  console.log(JSON.stringify(told));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
