tt () 
{ 
    cat <<E
apiVersion: access.smi-spec.io/v1alpha4
kind: TrafficTarget
metadata: {name: $1, namespace: $2}
spec: {destination: $3, sources: [$4], rules: [$5]}
E

}
