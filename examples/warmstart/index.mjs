// Remembers the query parameter `message` of the previous request: a module variable lives as long as its environment.
let previous;

export const handler = async (event) => {
    const last = previous;
    previous = event?.queryStringParameters?.message ?? '';
    return {
        statusCode: 200,
        headers: { 'Content-Type': 'text/plain' },
        body: last === undefined ? 'coldstart' : `warmstart, message=${last}`,
    };
};
